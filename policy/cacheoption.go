package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
)

// OptionCache is the name of the rule option that lets the pages of a rule be kept in the
// page cache.
const OptionCache = "cache"

// maxCacheTTL bounds the time that a rule gives to pages.
const maxCacheTTL = 24 * time.Hour

func init() {
	RegisterRuleOption(RuleOption{Name: OptionCache, Compile: compileCache})
}

// CacheRule is the rule option cache: pages of the rule may be kept, because the origin
// makes the same page for all readers.
type CacheRule struct {
	// TTL is how long a page is fresh for which the origin does not say it; zero for not at
	// all.
	TTL time.Duration
}

func compileCache(value json.RawMessage) (any, error) {
	var stored struct {
		TTL string `json:"ttl"`
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&stored); err != nil {
		return nil, errors.New(`it must be an object such as {} or {"ttl": "5m"}`)
	}
	rule := new(CacheRule)
	if stored.TTL != "" {
		ttl, err := time.ParseDuration(stored.TTL)
		if err != nil || ttl < time.Second || ttl > maxCacheTTL {
			return nil, errors.New(`ttl must be a duration from 1s to 24h, such as "5m"`)
		}
		rule.TTL = ttl
	}
	return rule, nil
}
