package caddymodule

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parseStore reads where records are kept. Syntax:
//
//	store bolt [<file>]
//	store redis <url>… {
//		user              <name>
//		password          {env.NAME} | {file./path}
//		sentinel_password {env.NAME} | {file./path}
//		tls {
//			authority   <file>
//			certificate <file> <key file>
//			server_name <name>
//		}
//		prefix       <text>
//		pool_size    <n>
//		timeout      <duration>
//		dial_timeout <duration>
//		ack_replicas <n> [<duration>]
//	}
func (a *App) parseStore(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("store: write `store bolt [<file>]` or `store redis <url>…`")
	}
	a.Store = &StoreConfig{Engine: args[0]}
	switch {
	case args[0] == engineRedis && len(args) > 1:
		a.Store.URLs = args[1:]
		return a.Store.parseRedis(d)
	case args[0] == engineRedis:
		return d.Err("store: where is the Redis? Write `store redis redis://host:6379`")
	case args[0] != engineBolt:
		return d.Errf("store: unknown engine %q; known are %s and %s", args[0], engineBolt, engineRedis)
	case len(args) > 2:
		return d.Err("store: write `store bolt [<file>]`")
	case len(args) == 2:
		a.Store.File = args[1]
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("store: the engine %s has no settings", engineBolt)
	}
	return nil
}

func (c *StoreConfig) parseRedis(d *caddyfile.Dispenser) error {
	seen := seenOptions{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := seen.check(d, option); err != nil {
			return err
		}
		var err error
		switch option {
		case "user":
			err = parseText(d, &c.User)
		case "password":
			err = parseSecret(d, &c.Password)
		case "sentinel_password":
			err = parseSecret(d, &c.SentinelPassword)
		case "prefix":
			err = parseText(d, &c.Prefix)
		case "pool_size":
			err = parseCount(d, &c.PoolSize)
		case "timeout":
			err = parseTime(d, &c.Timeout)
		case "dial_timeout":
			err = parseTime(d, &c.DialTimeout)
		case "ack_replicas":
			err = c.parseAck(d)
		case "tls":
			c.TLS = new(StoreTLS)
			err = c.TLS.parse(d)
		default:
			err = d.Errf("store: unknown option %q; known are user, password, sentinel_password, tls, prefix, pool_size, timeout, dial_timeout, ack_replicas", option)
		}
		if err != nil {
			return err
		}
	}
	for _, text := range c.URLs {
		if _, rest, ok := strings.Cut(text, "://"); ok && !isSecretPlaceholder(text) && strings.Contains(rest, "@") {
			return d.Err("store: a URL names a user: write `user` and `password {env.NAME}` in a block, or the whole URL as {env.NAME}, so that no secret stands in a configuration")
		}
	}
	return nil
}

func (c *StoreConfig) parseAck(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.Err("ack_replicas: write how many replicas, and for how long they are waited for: ack_replicas 1 500ms")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 || n > 100 {
		return d.Errf("ack_replicas: %q must be a number of replicas, at least 1", args[0])
	}
	c.AckReplicas = n
	if len(args) == 1 {
		return nil
	}
	c.AckTimeout, err = duration(args[1])
	if err != nil {
		return d.Errf("ack_replicas: %v", err)
	}
	return nil
}

func (c *StoreTLS) parse(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := seenOptions{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := seen.check(d, "tls "+option); err != nil {
			return err
		}
		var err error
		switch option {
		case "authority":
			err = parseText(d, &c.Authority)
		case "server_name":
			err = parseText(d, &c.ServerName)
		case "certificate":
			if !d.AllArgs(&c.Certificate, &c.Key) {
				err = d.Err("certificate: write the file of the certificate, and that of its key")
			}
		default:
			err = d.Errf("tls: unknown option %q; known are authority, certificate, server_name", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseText(d *caddyfile.Dispenser, to *string) error {
	if !d.AllArgs(to) {
		return d.ArgErr()
	}
	return nil
}

func parseSecret(d *caddyfile.Dispenser, to *string) error {
	option := d.Val()
	if err := parseText(d, to); err != nil {
		return err
	}
	if !isSecretPlaceholder(*to) {
		return d.Errf("%s: write {env.NAME} or {file./path}, so that the secret itself stands in no configuration", option)
	}
	return nil
}

func parseCount(d *caddyfile.Dispenser, to *int) error {
	option := d.Val()
	var text string
	if err := parseText(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return d.Errf("%s: %q must be a number above zero", option, text)
	}
	*to = n
	return nil
}

func parseTime(d *caddyfile.Dispenser, to *caddy.Duration) error {
	option := d.Val()
	var text string
	if err := parseText(d, &text); err != nil {
		return err
	}
	parsed, err := duration(text)
	if err != nil {
		return d.Errf("%s: %v", option, err)
	}
	*to = parsed
	return nil
}

func duration(text string) (caddy.Duration, error) {
	parsed, err := caddy.ParseDuration(text)
	if err != nil || parsed <= 0 {
		return 0, fmt.Errorf("%q must be a duration above zero, such as 500ms or 30s", text)
	}
	return caddy.Duration(parsed), nil
}
