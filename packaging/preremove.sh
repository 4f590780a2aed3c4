#!/bin/sh
# Before a removal or an upgrade: the .deb says which, the .rpm how many versions remain.
set -e
case $1 in remove | deconfigure | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now gatefold.socket gatefold.service
	fi
	;;
esac
