package caddymodule

import (
	"errors"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/keysets"
	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/caddymodule/webhookconfig"
	"github.com/gatefold/gatefold/keys/dialguard"
	"github.com/gatefold/gatefold/policy"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(directive, parseGlobal)
}

func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // so that the error has its line
		return nil, d.Err("the global option gatefold is given twice")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: directive, Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	gatefold {
//		store bolt [<file>] | redis <url>… { <settings> }
//		secret {env.NAME} | {file./path}
//		cache_size <size>
//		jwks {
//			allow          <address or network>…
//			ca             <file>
//			stale_if_error <duration>
//			cooldown       <duration>
//		}
//		webhooks {
//			allow <address, network or address:port>…
//			ca    <file>
//		}
//		stale_for    <duration>
//		stream_grace <duration>
//		backup <directory> [every <duration>] [keep <number>]
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	a.Places = setting.PlacesOf(d)
	d.Next() // consume the option's name
	return block.Parse(d, "",
		block.Option{Name: "store", Parse: a.parseStore},
		block.Secret("secret", &a.Secret),
		block.Value("cache_size", a.setCacheSize),
		block.Option{Name: "jwks", Parse: a.parseKeySets},
		block.Option{Name: "webhooks", Parse: a.parseWebhooks},
		block.Duration("stale_for", &a.StaleFor, 0, 0),
		block.Option{Name: "backup", Parse: a.parseBackup},
		block.Duration("stream_grace", &a.StreamGrace, minStreamGrace, maxStreamGrace),
	)
}

func (a *App) setCacheSize(text string) error {
	if strings.Trim(text, "0123456789") == "" {
		return errors.New("has no unit: write " + text + "MiB, or " + text + "B for bytes")
	}
	if err := a.CacheSize.Set(text); err != nil || !a.CacheSize.Deferred() && a.CacheSize.V < policy.MinCacheBytes {
		return errors.New("must be a size of at least 1MiB, such as 64MiB")
	}
	return nil
}

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	a.Store = new(openstore.Config)
	return a.Store.UnmarshalCaddyfile(d)
}

func (a *App) parseBackup(d *caddyfile.Dispenser) error {
	a.Backup = new(openstore.BackupConfig)
	return a.Backup.UnmarshalCaddyfile(d)
}

func (a *App) parseKeySets(d *caddyfile.Dispenser) error {
	a.JWKS = new(keysets.Config)
	return a.JWKS.UnmarshalCaddyfile(d)
}

// parseWebhooks reads the block `webhooks` of the global option.
func (a *App) parseWebhooks(d *caddyfile.Dispenser) error {
	a.Webhooks = new(webhookconfig.Config)
	return block.Parse(d, "webhooks",
		block.List("allow", &a.Webhooks.Allow, func(text string) error {
			_, err := dialguard.Parse(text)
			return err
		}),
		block.Text("ca", &a.Webhooks.CA),
	)
}
