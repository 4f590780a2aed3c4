package main

import (
	"crypto/md5" //nolint:gosec // nginx's secure_link knows no other
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Pages from memory: the gate with gatefold_cache against servers that have the page too, or
// that ask the origin for it. The origin's page has as many bytes as its path says.

// keptRules are gateRules whose pages may be kept.
const keptRules = `
		rule /articles/{publisherContentId} entitled premium {publisherContentId} {
			cache 1h
		}
		rule /account authenticated
		rule / any {
			cache 1h
		}`

// keptSizes are the sizes of pages, in bytes, by the names of their loads.
var keptSizes = []struct {
	name, text string
	bytes      int
}{{"1k", "1 KiB", 1 << 10}, {"16k", "16 KiB", 16 << 10}}

func keptPath(bytes int) string { return sizedPath + strconv.Itoa(bytes) }

// sizedPath begins the paths of pages with a size.
const sizedPath = "/articles/bytes-"

// pageSize returns the size of the origin's page of a path.
func pageSize(path string) int {
	if size, err := strconv.Atoi(strings.TrimPrefix(path, sizedPath)); err == nil && size > 0 && size <= 1<<20 {
		return size
	}
	return 1024
}

// secureLinkSecret is the secret of nginx's links.
const secureLinkSecret = "bench"

// secureLink returns a path with a link that nginx's secure_link accepts for a day.
func secureLink(path string, now time.Time) string {
	expires := strconv.FormatInt(now.Add(24*time.Hour).Unix(), 10)
	sum := md5.Sum([]byte(expires + path + " " + secureLinkSecret)) //nolint:gosec // as above
	return path + "?md5=" + base64.RawURLEncoding.EncodeToString(sum[:]) + "&expires=" + expires
}

// respondDirectives make Caddy answer the pages itself.
func respondDirectives() string {
	var text strings.Builder
	for _, size := range keptSizes {
		fmt.Fprintf(&text, "respond %s %s\n\t", keptPath(size.bytes), strings.Repeat("a", size.bytes))
	}
	return text.String()
}

// nginxPeers are what a location of nginx does, and what the configuration has before it, by
// the names of the servers. %s: directory.
var nginxPeers = map[string]struct{ before, location string }{
	"nginx-auth-request": {"", "auth_request /_authorize;"},
	"nginx-secure-link": {
		"", "secure_link $arg_md5,$arg_expires; secure_link_md5 \"$secure_link_expires$uri " + secureLinkSecret + "\"; if ($secure_link = \"\") { return 403; } if ($secure_link = \"0\") { return 410; }",
	},
	"nginx-auth-cache": {
		"proxy_cache_path %s/pages keys_zone=pages:10m;",
		"auth_request /_authorize; proxy_cache pages; proxy_cache_key $uri; proxy_cache_valid 200 1h;",
	},
}

// keptContenders are those of the rows with a page from memory.
func keptContenders() (list []contender) {
	for _, size := range keptSizes {
		for _, c := range []contender{
			{"plain", "plain", "kept", 1},
			{"kept", "kept", "kept", 1},
			{"respond", "respond", "kept", 1},
			{"nginx-secure-link", "nginx-secure-link", "linked", 2},
			{"nginx-auth", "nginx-auth-request", "kept", rareRounds},
			{"nginx-auth-cache", "nginx-auth-cache", "kept", rareRounds},
		} {
			c.name, c.load = c.name+"-"+size.name, c.load+"-"+size.name
			list = append(list, c)
		}
	}
	return list
}

// keptPairs are the rows with a page from memory.
func keptPairs() (list []pair) {
	for _, size := range keptSizes {
		row := "page from memory, " + size.text + ": "
		of := "kept-" + size.name
		list = append(
			list,
			pair{row + "throughput, against plain reverse_proxy", of, "plain-" + size.name, throughputOf, 3.0, false},
			pair{row + "throughput, against Caddy's respond", of, "respond-" + size.name, throughputOf, 0.85, false},
			pair{row + "throughput, against nginx with auth_request", of, "nginx-auth-" + size.name, throughputOf, 2.0, false},
			pair{row + "throughput, against nginx with secure_link", of, "nginx-secure-link-" + size.name, throughputOf, 1.1, false},
			pair{row + "CPU per request, against plain reverse_proxy", of, "plain-" + size.name, cpuOf, 0, true},
			pair{row + "CPU per request, against Caddy's respond", of, "respond-" + size.name, cpuOf, 0, true},
			pair{row + "throughput, against nginx with auth_request and proxy_cache", of, "nginx-auth-cache-" + size.name, throughputOf, 0, false},
		)
	}
	return list
}

// keptLoad returns the load of a page that is in memory, nil for other names.
func (b *bench) keptLoad(name string) *load {
	for _, size := range keptSizes {
		path := keptPath(size.bytes)
		switch name {
		case "kept-" + size.name:
			return browserLoad(name, path, b.world.reader())
		case "linked-" + size.name:
			return browserLoad(name, secureLink(path, time.Now()), http.Header{})
		}
	}
	return nil
}
