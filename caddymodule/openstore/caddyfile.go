package openstore

import (
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/setting"
)

// UnmarshalCaddyfile reads the option `store`. Syntax:
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
//		redeem_timeout <duration>
//		eviction unknown
//		cold_start
//		snapshot off | <folder>
//		ack_replicas <n> [<duration>]
//	}
func (c *Config) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("store: write `store bolt [<file>]` or `store redis <url>…`")
	}
	c.Engine = args[0]
	switch {
	case args[0] == Redis && len(args) > 1:
		c.URLs = args[1:]
		return c.parseRedis(d)
	case args[0] == Redis:
		return d.Err("store: the URL is missing: write `store redis redis://host:6379`")
	case args[0] != Bolt:
		return d.Errf("store: unknown engine %q; known are %s and %s", args[0], Bolt, Redis)
	case len(args) > 2:
		return d.Err("store: write `store bolt [<file>]`")
	case len(args) == 2:
		c.File = args[1]
	}
	return block.Parse(d, "store bolt")
}

var evictionUnknown = regexp.MustCompile("^unknown$")

func (c *Config) parseRedis(d *caddyfile.Dispenser) error {
	err := block.Parse(d, "store redis",
		block.Text("user", &c.User),
		block.Secret("password", &c.Password),
		block.Secret("sentinel_password", &c.SentinelPassword),
		block.Option{Name: "tls", Parse: c.parseTLS},
		block.Text("prefix", &c.Prefix),
		block.Count("pool_size", &c.PoolSize),
		block.Duration("timeout", &c.Timeout, 0, 0),
		block.Duration("dial_timeout", &c.DialTimeout, 0, 0),
		block.Match("eviction", &c.Eviction, evictionUnknown, "unknown: without the option the Redis must tell that it is noeviction"),
		block.Flag("cold_start", &c.ColdStart),
		block.Text("snapshot", &c.Snapshot),
		block.Duration("redeem_timeout", &c.RedeemTimeout, 0, 0),
		block.Option{Name: "ack_replicas", Parse: c.parseAck},
	)
	if err != nil {
		return err
	}
	for _, text := range c.URLs {
		if _, rest, ok := strings.Cut(text, "://"); ok && !setting.IsSecret(text) && strings.Contains(rest, "@") {
			return d.Err("store: a URL names a user: write `user` and `password {env.NAME}` in a block, or the whole URL as {env.NAME}: a configuration must not hold a secret")
		}
	}
	return nil
}

func (c *Config) parseAck(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.Err("ack_replicas: write the number of replicas and how long to wait for them: ack_replicas 1 500ms")
	}
	if err := c.AckReplicas.Set(args[0]); err != nil || c.AckReplicas.V > maxAckReplicas {
		return d.Errf("ack_replicas: %q must be a number of replicas from 1 to %d", args[0], maxAckReplicas)
	}
	if len(args) == 2 {
		if err := c.AckTimeout.Set(args[1]); err != nil {
			return d.Errf("ack_replicas: %q %v", args[1], err)
		}
	}
	return nil
}

func (c *Config) parseTLS(d *caddyfile.Dispenser) error {
	c.TLS = new(TLS)
	return block.Parse(d, "tls",
		block.Text("authority", &c.TLS.Authority),
		block.Option{Name: "certificate", Parse: c.TLS.parseCertificate},
		block.Text("server_name", &c.TLS.ServerName),
	)
}

func (c *TLS) parseCertificate(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&c.Certificate, &c.Key) {
		return d.Err("certificate: write the file of the certificate and the file of its key")
	}
	return nil
}

// UnmarshalCaddyfile reads the option `backup`.
func (c *BackupConfig) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("backup: the directory is missing: write `backup <directory> every 6h keep 14`")
	}
	c.Directory = d.Val()
	for d.NextArg() {
		name := d.Val()
		if !d.NextArg() || name != "every" && name != "keep" {
			return d.Errf("backup: %q is unknown, or has no value: write `backup <directory> every 6h keep 14`", name)
		}
		var err error
		if name == "every" {
			err = c.Every.Set(d.Val())
		} else {
			err = c.Keep.Set(d.Val())
		}
		if err != nil {
			return d.Errf("backup: %s %q: %v", name, d.Val(), err)
		}
	}
	return nil
}
