package admin_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// Two spellings of the same body have the same answer and the same effect.
func TestReplaceRulesIsIndependentOfSpelling(t *testing.T) {
	b := newFixture(t, false)
	many := strings.Repeat(`"A",`, 32) + `"B"`
	for _, body := range []string{
		`[{"path":"/a/{publisherContentId}","allow":"entitled/{\"sku\":[\"x\",\"{publisherContentId}\"]}","engaged":"App, Web"},{"path":"/","allow":0}]`,
		`[{"path":"/","allow":0,"rank":4,"methods":["POST"],"is_forward":false},{"path":"a","allow":"authenticated","rank":2}]`,
		`[{"path":"/","allow":0},{"path":"/","allow":1}]`,
		`[{"path":"/","allow":0},{"path":"/a","allow":1,"rank":3}]`,
		`[{"path":"/","allow":0,"rank":3},{"path":"/a","allow":1,"rank":3}]`,
		`[{"path":"/a//b","allow":0}]`,
		`[{"path":"/a","allow":"unknown"},{"path":"/*","allow":0}]`,
		`[{"path":"/*","allow":0},{"path":"/a","allow":"unknown"}]`,
		`[{"path":"/","allow":"any/{"}]`, `[{"path":"/","allow":"any/{}{}"}]`, `[{"path":"/","allow":"/{}"}]`, `[{"path":"/","allow":""}]`, `[{"path":"/","allow":"any\n"}]`,
		`[{"path":"/","allow":"entitled/{\"sku\":1}"}]`, `[{"path":"/","allow":"any","engaged":"a b,c"}]`, `[{"path":"/","allow":"any","engaged":"a,a"}]`,
		`[{"path":"/","allow":"any","engaged":"` + strings.Repeat("ö", 256) + `"}]`,
		`[{"path":"/","allow":"any","methods":["get"]}]`, `[{"path":"/","allow":"any","methods":[` + many + `]}]`,
		`[{"path":"","allow":"any"}]`, `[{"path":"/` + strings.Repeat("ö", 1024) + `","allow":"any"}]`, `[{"path":"/` + strings.Repeat("ö", 1000) + `","allow":"any"}]`,
		`[{"path":"/"}]`, `[{"path":"/","allow":null}]`, `[{"path":"/","allow":true}]`, `[{"path":"/","allow":1.5}]`, `[{"path":"/","allow":"any","rank":1000001}]`,
		`[{"path":"/","allow":"any","more":1}]`, `[{"path":"/","allow":"any","allow":"any"}]`, `[{"path":"/","allow":"any"},]`, `[{"path":"/","allow":"any\q"}]`,
		`[{"path":"/","allow":"any"}] x`, `[{"path":"/","allow":"any"}`,
	} {
		for _, query := range []string{"", "?dry_run=true", "?if_version=other", "?site=Not", "?site=news&site=other"} {
			plain := b.call(http.MethodPut, rulesPath+query, body)
			listed := b.call(http.MethodGet, rulesPath, "")
			spelled := b.call(http.MethodPut, rulesPath+query, strings.Replace(body, `"path"`, `"\u0070ath"`, 1))
			if plain.code != spelled.code || plain.body != spelled.body {
				t.Errorf("%s %s is answered\n%d %s\nand otherwise spelled\n%d %s", query, body, plain.code, plain.body, spelled.code, spelled.body)
			}
			if again := b.call(http.MethodGet, rulesPath, ""); again.body != listed.body {
				t.Errorf("%s %s leaves\n%s\nand otherwise spelled\n%s", query, body, listed.body, again.body)
			}
		}
	}
}

func TestReplaceRulesRefusesLargeBodies(t *testing.T) {
	b := newFixture(t, false)
	for _, space := range []string{" ", "\u00a0"} {
		b.call(http.MethodPut, rulesPath, "["+strings.Repeat(space, 8<<20)+"]").refused(http.StatusRequestEntityTooLarge, "too_large", "")
	}
	var rules []string
	for i := range 20_001 {
		rules = append(rules, fmt.Sprintf(`{"path":"/%d","allow":0}`, i))
	}
	b.call(http.MethodPut, rulesPath, "["+strings.Join(rules, ",")+"]").refused(http.StatusUnprocessableEntity, "validation_failed", "body.rules")
}

// Allocations dominate the cost of publishing, and the garbage collector passes it
// on to other requests.
func TestPublishingAllocations(t *testing.T) {
	b := newFixture(t, false)
	const rules, most = 2000, 90
	b.call(http.MethodPut, rulesPath, string(manyRules(t, rules))).want(http.StatusOK, nil)
	body := strings.ReplaceAll(string(manyRules(t, rules)), "premium", "basic")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.call(http.MethodPut, rulesPath, body).want(http.StatusOK, nil)
	runtime.ReadMemStats(&after)
	if each := float64(after.Mallocs-before.Mallocs) / rules; each > most {
		t.Errorf("%.1f allocations a rule", each)
	}
}
