#!/bin/sh
# After an installation or an upgrade, of the .deb (arguments: configure and the version
# before, if any) and of the .rpm (argument: the number of installed versions).
set -e
getent group gatefold >/dev/null || groupadd --system gatefold
getent passwd gatefold >/dev/null ||
	useradd --system --gid gatefold --home-dir /var/lib/gatefold --no-create-home --shell /usr/sbin/nologin gatefold
install -d -o gatefold -g gatefold -m 0700 /var/lib/gatefold
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart gatefold.service
fi
if [ "$1" = 1 ] || { [ "$1" = configure ] && [ -z "$2" ]; }; then
	echo 'gatefold: edit /etc/gatefold/Caddyfile, then run: systemctl enable --now gatefold'
fi
