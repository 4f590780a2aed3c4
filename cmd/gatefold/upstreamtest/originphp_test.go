package upstreamtest

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// startPHP starts PHP's own server with the front controller.
func startPHP(t *testing.T) []origin {
	t.Helper()
	site, port := copied(t, "php"), keystest.FreePort(t)
	server := run(t, site, withDebian(t, "PHP_CLI_SERVER_WORKERS=4"), debian(t, "usr/bin/php[0-9]*.[0-9]"), "-n", "-d", "log_errors=0", "-S", "127.0.0.1:"+port, "-t", site)
	server.waitForPort(t, "tcp", "127.0.0.1:"+port)
	return []origin{proxied("PHP's own server", port, 300)}
}

// startFPM starts PHP-FPM, which php_fastcgi, nginx and Apache reach.
func startFPM(t *testing.T) []origin {
	t.Helper()
	site := copied(t, "php")
	socket := runFPM(t)
	return []origin{
		{name: "PHP-FPM by php_fastcgi", handler: "root " + site + "\n\tphp_fastcgi unix/" + socket, fpm: true, least: 300},
		proxied("PHP-FPM behind nginx", fpmNginx(t, site, socket), 300),
		proxied("PHP-FPM behind Apache", fpmApache(t, site, socket), 300),
	}
}

// runFPM runs PHP-FPM, and returns its socket.
func runFPM(t *testing.T) string {
	t.Helper()
	dir := folder(t)
	socket := filepath.Join(dir, "fpm.sock")
	config := write(t, dir, "fpm.conf", fmt.Sprintf(`[global]
error_log = /dev/stderr
log_level = error
[www]
user = root
group = root
listen = %s
listen.mode = 0666
pm = static
pm.max_children = 4
`, socket))
	run(t, dir, withDebian(t), debian(t, "usr/sbin/php-fpm[0-9]*"), "-n", "-R", "-F", "-y", config).waitForPort(t, "unix", socket)
	return socket
}

// fpmNginx runs nginx with the locations that frameworks document.
func fpmNginx(t *testing.T, site, socket string) string {
	t.Helper()
	port := keystest.FreePort(t)
	runNginx(t, port, fmt.Sprintf(`	server {
		listen 127.0.0.1:%s;
		root %s;
		index index.php;
		location / { try_files $uri $uri/ /index.php$is_args$args; }
		location ~ [^/]\.php(/|$) {
			fastcgi_split_path_info ^(.+?\.php)(/.*)$;
			fastcgi_pass unix:%s;
			fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
			fastcgi_param SCRIPT_NAME $fastcgi_script_name;
			fastcgi_param PATH_INFO $fastcgi_path_info;
			fastcgi_param QUERY_STRING $query_string;
			fastcgi_param REQUEST_METHOD $request_method;
			fastcgi_param REQUEST_URI $request_uri;
			fastcgi_param DOCUMENT_URI $document_uri;
			fastcgi_param CONTENT_TYPE $content_type;
			fastcgi_param CONTENT_LENGTH $content_length;
			fastcgi_param SERVER_PROTOCOL $server_protocol;
		}
	}
`, port, site, socket))
	return port
}

// fpmApache runs Apache with the rewriting that frameworks put into .htaccess.
func fpmApache(t *testing.T, site, socket string) string {
	t.Helper()
	port := keystest.FreePort(t)
	runApache(t, port, fmt.Sprintf(`DocumentRoot %[1]s
<Directory %[1]s>
	Options FollowSymLinks MultiViews
	Require all granted
	RewriteEngine On
	RewriteCond %%{REQUEST_FILENAME} !-f
	RewriteCond %%{REQUEST_FILENAME} !-d
	RewriteRule ^ index.php [L]
</Directory>
<FilesMatch ".+\.php$">
	SetHandler "proxy:unix:%[2]s|fcgi://localhost"
</FilesMatch>
`, site, socket))
	return port
}
