package caddymodule

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// StoreConfig says where records are kept.
type StoreConfig struct {
	// Engine is the kind of store: `bolt`, an embedded database for one node, or
	// `redis`, which several nodes share.
	Engine string `json:"engine"`
	// File is the database file of `bolt`. Default:
	// `gatefold/gatefold.db` in Caddy's data directory.
	File string `json:"file,omitempty"`

	// URLs say where the Redis is: `redis://host:6379/0`, several
	// `redis+sentinel://host:26379/master`, or several `redis+cluster://host:6379`;
	// with `rediss` in the place of `redis` over TLS. One may be a placeholder,
	// `{env.NAME}` or `{file./path}`, and only then hold a password.
	URLs []string `json:"urls,omitempty"`
	// User is the Redis user. Default: the default user.
	User string `json:"user,omitempty"`
	// Password is the user's. It must be a placeholder, `{env.NAME}` or
	// `{file./path}`.
	Password string `json:"password,omitempty"`
	// SentinelPassword is what the Sentinels themselves ask for, a placeholder.
	SentinelPassword string `json:"sentinel_password,omitempty"`
	// TLS says what is not usual about TLS.
	TLS *StoreTLS `json:"tls,omitempty"`
	// Prefix begins the names of all keys in the Redis. Default: `gatefold`.
	Prefix string `json:"prefix,omitempty"`
	// PoolSize is how many connections are kept. Default: 32.
	PoolSize int `json:"pool_size,omitempty"`
	// Timeout is how long an answer may take, DialTimeout how long connecting.
	// Default: 2 seconds each.
	Timeout     caddy.Duration `json:"timeout,omitempty"`
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`
	// AckReplicas is how many replicas must have a write before it is acknowledged,
	// and AckTimeout how long they are waited for. Default: none; 500 ms.
	AckReplicas int            `json:"ack_replicas,omitempty"`
	AckTimeout  caddy.Duration `json:"ack_timeout,omitempty"`
}

// StoreTLS says whom to trust at the other end of a connection, and who we are.
type StoreTLS struct {
	// Authority is a file with the certificates of the authorities to trust, PEM.
	// Default: the system's.
	Authority string `json:"authority,omitempty"`
	// Certificate and Key are files with our own, PEM, for servers that ask.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
	// ServerName is the name that the server's certificate must have. Default: the
	// host of the URL.
	ServerName string `json:"server_name,omitempty"`
}

const (
	engineBolt  = "bolt"
	engineRedis = "redis"
)

// isSecretPlaceholder says whether a text stands for something that is not in the
// configuration, which everybody may read who may read the admin endpoint.
func isSecretPlaceholder(text string) bool {
	return strings.HasPrefix(text, "{env.") || strings.HasPrefix(text, "{file.")
}

// readSecret returns what a placeholder stands for, without a newline at its end.
func readSecret(option, placeholder string) (string, error) {
	if placeholder == "" {
		return "", nil
	}
	if !isSecretPlaceholder(placeholder) {
		return "", fmt.Errorf("%s: must be {env.NAME} or {file./path}; a secret in the configuration could be read at the admin endpoint", option)
	}
	secret, err := caddy.NewReplacer().ReplaceOrErr(placeholder, true, true)
	if err != nil || secret == "" {
		return "", fmt.Errorf("%s: %s is not set", option, placeholder)
	}
	return strings.TrimRight(secret, "\r\n"), nil
}

// databaseFile returns the absolute path of the embedded database.
func (c *StoreConfig) databaseFile() (string, error) {
	if len(c.URLs) > 0 || c.Password != "" || c.User != "" || c.TLS != nil || c.AckReplicas != 0 {
		return "", errors.New("the engine bolt takes a file, and nothing of what is for redis")
	}
	file := c.File
	if file == "" {
		file = defaultDatabase()
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	// Two names of one file must not open it twice: that would wait for a lock
	// that this very process holds.
	if resolved, err := filepath.EvalSymlinks(file); err == nil {
		return resolved, nil
	}
	return file, nil
}

// redis returns how the Redis is reached, with the secrets that the configuration
// only names.
func (c *StoreConfig) redis() (redisengine.Options, error) {
	if c.File != "" {
		return redisengine.Options{}, errors.New("the engine redis takes urls, and no file")
	}
	urls := slices.Clone(c.URLs)
	for i, text := range urls {
		if !isSecretPlaceholder(text) {
			continue
		}
		var err error
		if urls[i], err = readSecret("url", text); err != nil {
			return redisengine.Options{}, err
		}
	}
	options, err := redisengine.ParseURLs(urls)
	if err != nil {
		return options, err
	}
	if options.Password != "" && slices.ContainsFunc(c.URLs, func(text string) bool { return !isSecretPlaceholder(text) }) {
		return options, errors.New("a URL holds a password, which could be read at the admin endpoint: write `password {env.NAME}`, or the whole URL as {env.NAME}")
	}
	if c.User != "" {
		options.User = caddy.NewReplacer().ReplaceAll(c.User, "")
	}
	if c.Password != "" {
		if options.Password, err = readSecret("password", c.Password); err != nil {
			return options, err
		}
	}
	if options.SentinelPassword, err = readSecret("sentinel_password", c.SentinelPassword); err != nil {
		return options, err
	}
	options.Prefix, options.PoolSize, options.AckReplicas = c.Prefix, c.PoolSize, c.AckReplicas
	options.Timeout, options.DialTimeout, options.AckTimeout = time.Duration(c.Timeout), time.Duration(c.DialTimeout), time.Duration(c.AckTimeout)
	if c.TLS == nil {
		return options, nil
	}
	if options.TLS == nil {
		return options, errors.New("tls: the URL says that there is none: write rediss:// in the place of redis://")
	}
	return options, c.TLS.apply(options.TLS)
}

func (c *StoreTLS) apply(config *tls.Config) error {
	config.ServerName = c.ServerName
	if c.Authority != "" {
		pem, err := os.ReadFile(c.Authority)
		if err != nil {
			return fmt.Errorf("tls: authority: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("tls: authority: %s holds no certificate in PEM", c.Authority)
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

// identity returns what tells one store from another: two configurations that have
// the same share it. Whatever changes how a Redis is reached makes another one, its
// secrets too; of those it holds only a hash.
func (c *StoreConfig) identity(staleFor time.Duration, options redisengine.Options) string {
	text, _ := json.Marshal([]any{c, staleFor, options.Addresses, options.User, options.Password, options.SentinelPassword}) // texts and numbers: cannot fail
	sum := sha256.Sum256(text)
	return "redis " + hex.EncodeToString(sum[:])
}
