package admin_test

import (
	"net/http"
	"testing"
)

// Two operators export, edit and import the rules. The second import does not
// overwrite unseen changes.
func TestReplaceRulesIfVersion(t *testing.T) {
	b := newFixture(t, false)
	b.addRules("/a", "/b")
	version := b.rules("").Version
	replace := func(version, body string) answer {
		return b.call(http.MethodPut, rulesPath+"?if_version="+version, body)
	}
	replace(version, `[{"path":"/first","allow":"any"}]`).want(http.StatusOK, nil)
	if got := replace(version, `[{"path":"/second","allow":"any"}]`); got.code != http.StatusConflict {
		t.Errorf("%d %s", got.code, got.body)
	}
	if got := b.order(); got != "1/first" {
		t.Errorf("the rules are %s", got)
	}
	replace(b.rules("").Version, `[{"path":"/second","allow":"any"}]`).want(http.StatusOK, nil)
	replace("", `[{"path":"/third","allow":"any"}]`).refused(http.StatusUnprocessableEntity, "validation_failed", "query.if_version")
	b.call(http.MethodPut, rulesPath, `[{"path":"/third","allow":"any"}]`).want(http.StatusOK, nil)
}
