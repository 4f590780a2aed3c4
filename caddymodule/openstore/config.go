package openstore

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// Config configures the store of records.
type Config struct {
	// Engine is the kind of store: `bolt`, an embedded database for one node, or
	// `redis`, which several nodes share.
	Engine string `json:"engine" placeholders:"-"`
	// File is the database file of `bolt`. Default: `gatefold/gatefold.db` in
	// Caddy's data directory.
	File string `json:"file,omitempty"`

	// URLs are the addresses of the Redis: one `redis://host:6379/0`, or any number
	// of `redis+sentinel://host:26379/master` or `redis+cluster://host:6379`; with
	// `rediss` instead of `redis` over TLS. A URL with a password must be a
	// placeholder, `{env.NAME}` or `{file./path}`.
	URLs []string `json:"urls,omitempty" placeholders:"-"`
	// User is the Redis user. Default: the default user.
	User string `json:"user,omitempty"`
	// Password is the user's password, as a placeholder `{env.NAME}` or
	// `{file./path}`.
	Password string `json:"password,omitempty" placeholders:"-"`
	// SentinelPassword is the password of the Sentinels, as a placeholder.
	SentinelPassword string `json:"sentinel_password,omitempty" placeholders:"-"`
	// TLS configures connections of a `rediss` URL.
	TLS *TLS `json:"tls,omitempty"`
	// Prefix is the prefix of all keys. Default: `gatefold`.
	Prefix string `json:"prefix,omitempty"`
	// PoolSize is the number of connections to a server. Default: 32.
	PoolSize setting.Count `json:"pool_size,omitzero"`
	// Timeout bounds a command, DialTimeout a connection attempt. Default: 2
	// seconds each.
	Timeout     setting.Duration `json:"timeout,omitzero"`
	DialTimeout setting.Duration `json:"dial_timeout,omitzero"`
	// RedeemTimeout bounds the redemption of a counted link, which is void after it, and each
	// read before it. Default: 500 ms.
	RedeemTimeout setting.Duration `json:"redeem_timeout,omitzero"`
	// Eviction is `unknown` for a Redis that does not tell its maxmemory-policy. Default: it
	// must tell one.
	Eviction string `json:"eviction,omitempty" placeholders:"-"`
	// ColdStart loads a configuration whose Redis was never reached although another one is
	// running. Default: the load fails.
	ColdStart bool `json:"cold_start,omitempty"`
	// Snapshot is the folder in which the node keeps the records from which it decides, sealed,
	// to start from them while the Redis is unreachable; or `off`. Default:
	// `gatefold/snapshots` in Caddy's data directory.
	Snapshot string `json:"snapshot,omitempty"`
	// AckReplicas is the number of replicas that must acknowledge a write, and
	// AckTimeout how long to wait for them. Default: none; 500 ms.
	AckReplicas setting.Count    `json:"ack_replicas,omitzero"`
	AckTimeout  setting.Duration `json:"ack_timeout,omitzero"`
}

// TLS configures TLS connections to the store.
type TLS struct {
	// Authority is a PEM file of the certificate authorities to trust. Default:
	// the system's.
	Authority string `json:"authority,omitempty"`
	// Certificate and Key are PEM files of the client certificate, for servers that
	// require one.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
	// ServerName is the name in the server's certificate. Default: the URL's host.
	ServerName string `json:"server_name,omitempty"`
}

// The kinds of stores, see Config.Engine.
const (
	Bolt  = "bolt"
	Redis = "redis"
)

const maxAckReplicas = 100

// DefaultDatabase returns the path of the database when none is configured.
func DefaultDatabase() string { return filepath.Join(caddy.AppDataDir(), "gatefold", "gatefold.db") }

// databaseFile returns the absolute path of the embedded database.
func (c *Config) databaseFile() (string, error) {
	if len(c.URLs) > 0 || c.Password != "" || c.User != "" || c.TLS != nil || c.AckReplicas.V != 0 {
		return "", errors.New("the engine bolt takes a file and none of the settings of redis")
	}
	file, err := filepath.Abs(cmp.Or(c.File, DefaultDatabase()))
	if err != nil {
		return "", err
	}
	// Two names of a file must not open it twice: the second would wait for the
	// lock of the first.
	if resolved, err := filepath.EvalSymlinks(file); err == nil {
		return resolved, nil
	}
	return file, nil
}

// CheckFile reports why a server could not open the embedded database: another process has it,
// or it cannot be created. It creates nothing.
func (c *Config) CheckFile() error {
	file, err := c.databaseFile()
	if err == nil {
		err = checkDatabase(file)
	}
	return err
}

// checkDatabase opens a database that exists; else it tries whether a file can be created
// in the first folder that exists.
func checkDatabase(file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		backend, err := boltengine.Open(file)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		return backend.Close()
	}
	dir := filepath.Dir(file)
	for _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir); _, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	probe, err := os.CreateTemp(dir, ".gatefold-*")
	if err != nil {
		return fmt.Errorf("store: the database %s cannot be created: %w: let the server's user write there, or name another file with `store bolt`", file, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// redis returns the options of the engine, with the placeholders replaced.
func (c *Config) redis() (redisengine.Options, error) {
	if c.AckReplicas.V > maxAckReplicas {
		return redisengine.Options{}, fmt.Errorf("ack_replicas: must be a number of replicas from 1 to %d", maxAckReplicas)
	}
	if c.File != "" {
		return redisengine.Options{}, errors.New("the engine redis takes URLs and no file")
	}
	urls := slices.Clone(c.URLs)
	readable := false
	for i, text := range urls {
		readable = readable || !setting.Has(text)
		var err error
		if urls[i], err = setting.Text("url", text); err != nil {
			return redisengine.Options{}, err
		}
	}
	options, err := redisengine.ParseURLs(urls)
	if err != nil {
		return options, err
	}
	if options.Password != "" && readable {
		return options, errors.New("a URL holds a password, which is readable at the admin endpoint: write `password {env.NAME}`, or the whole URL as {env.NAME}")
	}
	if c.User != "" {
		options.User = c.User
	}
	if c.Password != "" {
		if options.Password, err = setting.Secret("password", c.Password); err != nil {
			return options, setting.In("password", err)
		}
	}
	if options.SentinelPassword, err = setting.Secret("sentinel_password", c.SentinelPassword); err != nil {
		return options, setting.In("sentinel_password", err)
	}
	options.Prefix, options.PoolSize, options.AckReplicas = c.Prefix, c.PoolSize.V, c.AckReplicas.V
	options.Timeout, options.DialTimeout, options.AckTimeout = c.Timeout.V, c.DialTimeout.V, c.AckTimeout.V
	options.RedeemTimeout = c.RedeemTimeout.V
	if options.EvictionUnknown = c.Eviction != ""; options.EvictionUnknown && !evictionUnknown.MatchString(c.Eviction) {
		return options, setting.In("eviction", errors.New("eviction must be unknown, or absent"))
	}
	if c.TLS == nil {
		return options, nil
	}
	if options.TLS == nil {
		return options, errors.New("tls: the URL is not one with TLS: write rediss:// instead of redis://")
	}
	return options, setting.In("tls", c.TLS.Apply(options.TLS))
}

// Apply puts the settings into those of a connection.
func (c *TLS) Apply(config *tls.Config) error {
	config.ServerName = c.ServerName
	if c.Authority != "" {
		config.RootCAs = x509.NewCertPool()
		if err := setting.AddAuthorities(config.RootCAs, c.Authority); err != nil {
			return fmt.Errorf("tls: authority: %w", err)
		}
	}
	if c.Certificate == "" && c.Key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return fmt.Errorf("tls: certificate and key: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}

// identity returns the key of a Redis store in the pool: configurations with the same
// key share the store. It is a hash of all settings, the values of placeholders
// included.
func (c *Config) identity(staleFor time.Duration, options redisengine.Options) string {
	text, _ := json.Marshal([]any{c, staleFor, options.Addresses, options.User, options.Password, options.SentinelPassword}) // cannot fail: texts and numbers
	sum := sha256.Sum256(text)
	return "redis " + hex.EncodeToString(sum[:])
}
