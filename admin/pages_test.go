package admin_test

import (
	"net/http"
	"strings"
	"testing"
)

const purgePath = "/management/pages/purge"

// Pages are purged by URL, prefix, tag or site, with the scope cache:write alone, and the audit
// log says what was purged.
func TestPurgePages(t *testing.T) {
	b := newFixture(t, false)
	for body, want := range map[string]string{
		`{"urls":["https://news.example/a?x=1","/b%20c"],"tags":["t"]}`: `"paths":["/a","/b%20c"]`,
		`{"prefixes":["/articles/"],"soft":true}`:                       `"soft":true`,
		`{"all":true}`: `"all":true`,
	} {
		b.call(http.MethodPost, purgePath, body).want(http.StatusOK, nil)
		var entries []auditEntry
		got := b.call(http.MethodGet, "/management/audit", "").want(http.StatusOK, &entries)
		if entries[0].Operation != "purge-pages" || len(entries[0].Records) != 1 || entries[0].Records[0].Kind != "page-purge" || !strings.Contains(got.body, want) {
			t.Errorf("%s: the audit log has %s, want %s", body, got.body, want)
		}
	}
	for body, location := range map[string]string{
		`{}`:                              "body.urls",
		`{"all":true,"tags":["a"]}`:       "body.all",
		`{"urls":["a/b"]}`:                "body.urls",
		`{"urls":["//evil.example/x"]}`:   "body.urls",
		`{"prefixes":["javascript:x"]}`:   "body.prefixes",
		`{"urls":["https://[x"]}`:         "body.urls",
		`{"tags":["` + "\\u0000" + `"]}`:  "body.urls",
		`{"url":["/a"]}`:                  "body.url",
		`{"urls":"/a"}`:                   "body.urls",
		`{"tags":["a"],"soft":"perhaps"}`: "body.soft",
	} {
		b.call(http.MethodPost, purgePath, body).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	for scope, status := range map[string]int{"cache:write": http.StatusOK, "cache:*": http.StatusOK, "proxy:write": http.StatusForbidden, "cache:read": http.StatusForbidden} {
		header := http.Header{"X-Test-Scope": {scope}, "Content-Type": {"application/json"}}
		if got := b.send("acme", http.MethodPost, purgePath, `{"all":true}`, header); got.code != status {
			t.Errorf("%s: %d, want %d", scope, got.code, status)
		}
	}
}
