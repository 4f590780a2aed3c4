package crawler

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/gatefold/gatefold/keys"
)

// Config says how a crawler is recognized.
type Config struct {
	// Ranges are the lists of its addresses: https URLs or files. One of them must have the
	// address of the client.
	Ranges []string `json:"ranges"`
	// Agents are parts of its User-Agent, compared without regard to case. One of them must be
	// part of that of the client.
	Agents []string `json:"agents" caddyfile:"agent"`
}

// Limits of the configuration of a crawler.
const (
	maxLists    = 16
	maxAgents   = 16
	minAgent    = 4 // shorter ones are part of many agents
	maxListFile = 1 << 20
)

// Check returns an error for a configuration that recognizes no crawler, or every client.
func (c *Config) Check() error {
	switch {
	case len(c.Ranges) == 0 || len(c.Ranges) > maxLists:
		return fmt.Errorf("needs 1 to %d lists of its addresses: `ranges <https URL or file>`. An agent alone is what any client can say", maxLists)
	case len(c.Agents) == 0 || len(c.Agents) > maxAgents:
		return fmt.Errorf("needs 1 to %d agents: `agent <part of the User-Agent>`. Addresses alone may be those of a cloud that others use too", maxAgents)
	}
	for _, agent := range c.Agents {
		if len(agent) < minAgent {
			return fmt.Errorf("the agent %q is part of the agents of others: write at least %d letters, such as Googlebot", agent, minAgent)
		}
	}
	for _, list := range c.Ranges {
		if !strings.Contains(list, "://") {
			continue
		}
		if err := (keys.KeySetLocation{URL: list, Trusted: true}).Check(); err != nil {
			return fmt.Errorf("the list %s %w", withoutQuery(list), err)
		}
	}
	return nil
}

// withoutQuery returns a URL without its query, which may be secret.
func withoutQuery(address string) string {
	address, _, _ = strings.Cut(address, "?")
	if parsed, err := url.Parse(address); err == nil && parsed.User != nil {
		return parsed.Redacted()
	}
	return address
}

// Crawlers recognizes crawlers by name. It is safe for concurrent use.
type Crawlers struct {
	lists  *Lists
	held   []*List
	byName map[string]*crawler
}

type crawler struct {
	agents []string // in lower case
	lists  []*List
	files  []*Ranges
}

// Open returns the crawlers of a site. Close ends the refresh of their lists.
func Open(configs map[string]*Config, lists *Lists, source Source) (*Crawlers, error) {
	c := &Crawlers{lists: lists, byName: map[string]*crawler{}}
	for name, config := range configs {
		known := new(crawler)
		for _, agent := range config.Agents {
			known.agents = append(known.agents, strings.ToLower(agent))
		}
		for _, location := range config.Ranges {
			if strings.Contains(location, "://") {
				list := lists.Use(location, source)
				c.held, known.lists = append(c.held, list), append(known.lists, list)
				continue
			}
			ranges, err := readFile(location)
			if err != nil {
				c.Close()
				return nil, fmt.Errorf("crawler %s: %w", name, err)
			}
			known.files = append(known.files, ranges)
		}
		c.byName[name] = known
	}
	return c, nil
}

func readFile(name string) (*Ranges, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxListFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxListFile)
	}
	text, err := os.ReadFile(name) //nolint:gosec // the operator's own configuration names it
	if err != nil {
		return nil, err
	}
	ranges, err := ParseRanges(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return ranges, err
}

// CheckFiles returns an error if a file of a configuration cannot be used.
func (c *Config) CheckFiles() error {
	var failed error
	for _, location := range c.Ranges {
		if !strings.Contains(location, "://") {
			_, err := readFile(location)
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// IsCrawler implements policy.Crawlers.
func (c *Crawlers) IsCrawler(name, agent string, address netip.Addr) bool {
	known := c.byName[name]
	return known != nil && known.says(agent) && known.has(address)
}

func (c *crawler) says(agent string) bool {
	agent = strings.ToLower(agent)
	for _, part := range c.agents {
		if strings.Contains(agent, part) {
			return true
		}
	}
	return false
}

func (c *crawler) has(address netip.Addr) bool {
	for _, list := range c.lists {
		if list.Contains(address) {
			return true
		}
	}
	for _, ranges := range c.files {
		if ranges.Contains(address) {
			return true
		}
	}
	return false
}

// Close releases the lists of the crawlers.
func (c *Crawlers) Close() {
	for _, list := range c.held {
		c.lists.Release(list)
	}
	c.held = nil
}
