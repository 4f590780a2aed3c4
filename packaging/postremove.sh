#!/bin/sh
# After a removal. The data and the user stay until the .deb is purged; the .rpm leaves
# them.
set -e
if [ "$1" = purge ]; then
	rm -rf /var/lib/gatefold /etc/gatefold
	if getent passwd gatefold >/dev/null; then userdel gatefold; fi
	if getent group gatefold >/dev/null; then groupdel gatefold; fi
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
