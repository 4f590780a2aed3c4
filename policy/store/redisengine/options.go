package redisengine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Mode is the kind of deployment.
type Mode int

// The modes.
const (
	Single Mode = iota
	Sentinel
	Cluster
)

// Options are the address and the settings of the server.
type Options struct {
	Mode Mode
	// Addresses are host:port of the server, of the Sentinels, or of some nodes
	// of the Cluster.
	Addresses []string
	// Master is the name of the server in Sentinel.
	Master string
	// Database is the number of the database; a Cluster has only 0.
	Database int
	// User and Password; without a user the password is the default user's.
	User, Password string
	// SentinelPassword is the password of the Sentinels.
	SentinelPassword string
	// TLS encrypts the connections; nil for none.
	TLS *tls.Config
	// Prefix begins every key. Default: gatefold.
	Prefix string
	// PoolSize is the maximum number of connections to a server. Default: 32.
	PoolSize int
	// Timeout bounds the time of an answer. Default: 2 s.
	Timeout time.Duration
	// DialTimeout bounds the time of connecting. Default: 2 s.
	DialTimeout time.Duration
	// RedeemTimeout bounds the time of a redemption, which is void after it, and of each
	// read before it. Default: 500 ms.
	RedeemTimeout time.Duration
	// EvictionUnknown accepts a server that does not tell its eviction policy.
	EvictionUnknown bool
	// AckReplicas is how many replicas must have a write before it is
	// acknowledged. Default: none.
	AckReplicas int
	// AckTimeout bounds the wait for replicas. Default: 500 ms.
	AckTimeout time.Duration
	// Now is the clock with which the server's is compared. Default: time.Now.
	Now func() time.Time
}

const (
	defaultPrefix     = "gatefold"
	defaultPoolSize   = 32
	defaultTimeout    = 2 * time.Second
	defaultAckTimeout = 500 * time.Millisecond
	defaultRedeemTime = 500 * time.Millisecond
)

func (o *Options) setDefaults() {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.PoolSize == 0 {
		o.PoolSize = defaultPoolSize
	}
	for _, d := range []*time.Duration{&o.Timeout, &o.DialTimeout} {
		if *d == 0 {
			*d = defaultTimeout
		}
	}
	if o.AckTimeout == 0 {
		o.AckTimeout = defaultAckTimeout
	}
	if o.RedeemTimeout == 0 {
		o.RedeemTimeout = defaultRedeemTime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Check returns an error when the options are not valid.
func (o Options) Check() error {
	o.setDefaults()
	switch {
	case len(o.Addresses) == 0:
		return errors.New("no address of a server")
	case o.Mode == Sentinel && o.Master == "":
		return errors.New("sentinel: the name of the server is missing: redis+sentinel://host:26379/<name>")
	case o.Mode == Cluster && o.Database != 0:
		return errors.New("a cluster has only database 0")
	case strings.ContainsAny(o.Prefix, "{}"):
		return errors.New("the prefix of the keys must not hold { or }")
	case o.PoolSize < 0 || o.Timeout < 0 || o.DialTimeout < 0 || o.AckReplicas < 0 || o.AckTimeout < 0:
		return errors.New("sizes and times must not be negative")
	case o.RedeemTimeout < 20*time.Millisecond || o.RedeemTimeout > time.Minute:
		return errors.New("redeem_timeout must be from 20ms to 1m")
	case o.AckReplicas > 0 && o.AckTimeout < time.Millisecond:
		return errors.New("the time in which replicas must acknowledge is under 1ms")
	case o.AckReplicas > 0 && o.AckTimeout >= o.Timeout:
		return errors.New("the time in which replicas must acknowledge must be shorter than the timeout")
	}
	return nil
}

// schemes are the schemes of URLs.
var schemes = map[string]struct {
	mode Mode
	tls  bool
}{
	"redis":           {Single, false},
	"rediss":          {Single, true},
	"redis+sentinel":  {Sentinel, false},
	"rediss+sentinel": {Sentinel, true},
	"redis+cluster":   {Cluster, false},
	"rediss+cluster":  {Cluster, true},
}

// ParseURLs parses the URLs of one deployment:
//
//	redis://[user:password@]host[:6379][/database]
//	redis+sentinel://host[:26379]/master[/database] …
//	redis+cluster://host[:6379] …
//
// and each with rediss for TLS. Sentinels and nodes of a cluster have one URL each, which
// differ in the host only. Errors do not contain URLs, which may contain a password.
func ParseURLs(urls []string) (Options, error) {
	var options Options
	for i, text := range urls {
		one, err := parseURL(text)
		if err != nil {
			return Options{}, fmt.Errorf("URL %d: %w", i+1, err)
		}
		if i == 0 {
			options = one
			continue
		}
		if one.Mode == Single {
			return Options{}, errors.New("a single server has one URL; for several servers use redis+sentinel:// or redis+cluster://")
		}
		if one.Mode != options.Mode || one.Master != options.Master || one.Database != options.Database ||
			one.User != options.User || one.Password != options.Password || (one.TLS == nil) != (options.TLS == nil) {
			return Options{}, fmt.Errorf("URL %d: differs from the first in more than its host", i+1)
		}
		options.Addresses = append(options.Addresses, one.Addresses...)
	}
	if len(urls) == 0 {
		return Options{}, errors.New("no URL of a server")
	}
	return options, nil
}

func parseURL(text string) (Options, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return Options{}, errors.New("is not valid: write redis://host:6379")
	}
	scheme, known := schemes[parsed.Scheme]
	if !known {
		return Options{}, errors.New("unknown scheme: known are redis, rediss, redis+sentinel, rediss+sentinel, redis+cluster and rediss+cluster")
	}
	if parsed.Hostname() == "" || parsed.RawQuery != "" || parsed.Fragment != "" {
		return Options{}, errors.New("must be a scheme, a host and a port, without a query: settings have their own options")
	}
	options := Options{Mode: scheme.mode, Addresses: []string{withPort(parsed, scheme.mode)}}
	if scheme.tls {
		options.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	options.User = parsed.User.Username()
	options.Password, _ = parsed.User.Password()
	path := strings.Trim(parsed.Path, "/")
	if scheme.mode == Sentinel {
		options.Master, path, _ = strings.Cut(path, "/")
	}
	if path == "" {
		return options, nil
	}
	if options.Database, err = strconv.Atoi(path); err != nil || options.Database < 0 {
		return Options{}, errors.New("what follows the host must be the number of a database")
	}
	return options, nil
}

func withPort(parsed *url.URL, mode Mode) string {
	if parsed.Port() != "" {
		return parsed.Host
	}
	if mode == Sentinel {
		return parsed.Host + ":26379"
	}
	return parsed.Host + ":6379"
}
