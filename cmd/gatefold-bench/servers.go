package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"
)

// Every Caddy has the same configuration around its site.
// %s: admin address, data directory, global options, port, directives, origin.
const caddyfile = `{
	admin %s
	auto_https off
	persist_config off
	storage file_system %s
	log {
		level ERROR
	}
	%s
}

http://127.0.0.1:%s {
	%s
	reverse_proxy %s
}
`

// The gate of Caddyfile.example. %s: issuer, key file, audience.
const identifyDirective = `identify jwt {
			issuer %s
			jwks %s
			audience %s
		}`

const gateRules = `
		rule /articles/{publisherContentId} entitled premium {publisherContentId}
		rule /account authenticated
		rule / any`

// site is a Caddy under test.
type site struct {
	name        string
	global      string
	directives  string
	program     string // default: the gatefold under test
	environment []string
}

// asShipped is the collector's setting in a Caddy with defaults.
var asShipped = []string{"GOGC=100"}

// proxy returns a proxy under test, and starts it at the first call.
func (b *bench) proxy(ctx context.Context, name string) (*process, error) {
	if name == "big" {
		return b.big, b.needBig(ctx)
	}
	err := b.need("starting "+name, func() (err error) {
		b.proxies[name], err = b.startProxy(ctx, name)
		return err
	})
	return b.proxies[name], err
}

// startProxy starts the gate, the same binary without it, or an alternative.
func (b *bench) startProxy(ctx context.Context, name string) (*process, error) {
	s := site{name: name}
	switch name {
	case "gate":
		small := filepath.Join(b.dir, "small.db")
		if err := fill(ctx, small, 0, 0, "reader-one"); err != nil {
			return nil, err
		}
		s = b.gate(name, small, gateRules)
	case "plain", "twin":
	case "untuned":
		s.environment = asShipped
	case "verify-each":
		s.directives, s.program, s.environment = "verify_each * "+b.world.keyFile, b.self, asShipped
	case "forward-auth", "forward-auth-jwt", "forward-auth-tuned", "forward-auth-jwt-tuned":
		address, err := b.authorizer(strings.Contains(name, "jwt"))
		if err != nil {
			return nil, err
		}
		s.directives = fmt.Sprintf("forward_auth %s {\n\t\turi /\n\t\tcopy_headers X-User\n\t}", address)
		if !strings.HasSuffix(name, "-tuned") {
			s.environment = asShipped
		}
	case "kept":
		small := filepath.Join(b.dir, "kept.db")
		if err := fill(ctx, small, 0, 0, "reader-one"); err != nil {
			return nil, err
		}
		s = b.gate(name, small, keptRules)
		s.directives += "\n\tgatefold_cache"
	case "respond":
		s.directives = respondDirectives()
	case "nginx-auth-request", "nginx-secure-link", "nginx-auth-cache":
		address, err := b.authorizer(false)
		if err != nil {
			return nil, err
		}
		return b.startNginx(name, address)
	default:
		return nil, fmt.Errorf("there is no proxy %q", name)
	}
	return b.startCaddy(s, "/articles/hello", http.StatusOK)
}

// authorizer returns the address of the authorization service: one that allows
// every request, or one that verifies a token.
func (b *bench) authorizer(jwt bool) (address string, err error) {
	name, args := "authorizer", []string(nil)
	if jwt {
		name, args = "authorizer-jwt", []string{"-jwks", b.world.keyFile}
	}
	err = b.need("starting "+name, func() error {
		b.proxies[name], err = b.startAuthorizer(name, args...)
		return err
	})
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(b.proxies[name].url, "http://"), nil
}

// startCaddy starts a Caddy and waits until it answers.
func (b *bench) startCaddy(s site, ready string, status int) (*process, error) {
	p, err := b.launchCaddy(s)
	if err != nil {
		return nil, err
	}
	_, err = p.answers(ready, status, b.world.reader())
	return p, err
}

func (b *bench) launchCaddy(s site) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	adminPort, err := freePort()
	if err != nil {
		return nil, err
	}
	admin := "127.0.0.1:" + adminPort
	config := filepath.Join(b.dir, s.name+".Caddyfile")
	text := fmt.Sprintf(caddyfile, admin, filepath.Join(b.dir, s.name+"-data"), s.global, port, s.directives, b.origin)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	program, args := b.gatefold, []string{"run", "--config", config, "--adapter", "caddyfile"}
	if s.program != "" {
		program, args = s.program, append([]string{roleCaddy}, args...)
	}
	p, err := b.start(s.name, "http://127.0.0.1:"+port, s.environment, program, args...)
	if err != nil {
		return nil, err
	}
	p.admin = admin
	return p, nil
}

// gate returns a site with the gate; rules is empty if they are in the store.
func (b *bench) gate(name, database, rules string) site {
	return site{
		name:       name,
		global:     "gatefold {\n\t\tstore bolt " + database + "\n\t}",
		directives: "gatefold {\n\t\t" + fmt.Sprintf(identifyDirective, tokenIssuer, b.world.keyFile, tokenAudience) + rules + "\n\t}",
	}
}

// startOrigin starts the origin, and startAuthorizer an authorization service.
func (b *bench) startOrigin() error {
	port, err := freePort()
	if err != nil {
		return err
	}
	b.origin = "127.0.0.1:" + port
	p, err := b.start(roleOrigin, "http://"+b.origin, nil, b.self, roleOrigin, "-listen", b.origin)
	if err != nil {
		return err
	}
	_, err = p.answers("/", http.StatusOK, nil)
	return err
}

func (b *bench) startAuthorizer(name string, args ...string) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + port
	p, err := b.start(name, "http://"+address, nil, b.self, append([]string{roleAuthorizer, "-listen", address}, args...)...)
	if err != nil {
		return nil, err
	}
	_, err = p.answers("/", http.StatusOK, b.world.reader())
	return p, err
}

// nginxConfig is a proxy that does what nginxPeers say.
const nginxConfig = `daemon off;
user %[1]s;
worker_processes auto;
pid %[2]s/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[2]s; proxy_temp_path %[2]s; fastcgi_temp_path %[2]s; uwsgi_temp_path %[2]s; scgi_temp_path %[2]s;
	upstream origin { server %[3]s; keepalive 64; }
	upstream authorizer { server %[4]s; keepalive 64; }
	proxy_http_version 1.1;
	proxy_set_header Connection "";
	%[6]s
	server {
		listen 127.0.0.1:%[5]s;
		location / {
			%[7]s
			proxy_pass http://origin;
		}
		location = /_authorize {
			internal;
			proxy_pass http://authorizer;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
		}
	}
}
`

func (b *bench) startNginx(name, authorizer string) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, name+"-data")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nginx.conf")
	peer := nginxPeers[name]
	text := fmt.Sprintf(nginxConfig, me.Username, dir, b.origin, authorizer, port, strings.ReplaceAll(peer.before, "%s", dir), peer.location)
	if os.Geteuid() != 0 {
		text = strings.Replace(text, "user "+me.Username+";\n", "", 1)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := b.start(name, "http://127.0.0.1:"+port, nil, "nginx", "-e", "stderr", "-p", dir, "-c", config)
	if err != nil {
		return nil, err
	}
	_, err = p.answers(secureLink("/", time.Now()), http.StatusOK, b.world.reader())
	return p, err
}
