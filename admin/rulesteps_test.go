package admin_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// stepsRead is the part of a rule that says how it decides.
type stepsRead struct {
	Allow   any            `json:"allow"`
	Then    []any          `json:"then"`
	Options map[string]any `json:"options"`
}

// A rule keeps its further steps. A client that does not know them drops them with
// PUT, which can only narrow what the rule allows; PATCH leaves them.
func TestRuleSteps(t *testing.T) {
	b := newFixture(t, false)
	const subscribed, premium = `subscribed/{"plan":"gold"}`, `entitled/{"sku":"premium"}`
	want := func(then ...any) {
		t.Helper()
		var got stepsRead
		b.call(http.MethodGet, rulesPath+"/both", "").want(http.StatusOK, &got)
		if len(got.Then) != len(then) || len(then) > 0 && !reflect.DeepEqual(got.Then, then) {
			t.Errorf("the further steps are %v, want %v", got.Then, then)
		}
	}
	b.call(http.MethodPost, rulesPath, `{"path":"/both","allow":15,"then":["entitled/{\"sku\":\"premium\"}",0]}`).want(http.StatusCreated, nil)
	want(premium, float64(0))
	b.call(http.MethodPatch, rulesPath+"/both", `{"engaged":"news"}`).want(http.StatusOK, nil)
	want(premium, float64(0))
	b.call(http.MethodPatch, rulesPath+"/both", `{"then":["subscribed/{\"plan\":\"gold\"}"]}`).want(http.StatusOK, nil)
	want(subscribed)
	b.call(http.MethodPut, rulesPath+"/both", `{"allow":15}`).want(http.StatusOK, nil)
	want()
	b.call(http.MethodPut, rulesPath, `[{"path":"/both","allow":15,"then":["entitled/{\"sku\":\"premium\"}"]}]`).want(http.StatusOK, nil)
	want(premium)

	for body, detail := range map[string]string{
		`{"path":"/x","allow":0,"then":["nothing"]}`:    "unknown operator",
		`{"path":"/x","allow":0,"then":["entitled"]}`:   "at least one sku",
		`{"path":"/x","allow":0,"options":{"cash":{}}}`: `unknown option "cash"`,
	} {
		if p := b.call(http.MethodPost, rulesPath, body).refused(http.StatusUnprocessableEntity, "validation_failed", ""); !strings.Contains(p.Detail, detail) {
			t.Errorf("%s: %q, want %q", body, p.Detail, detail)
		}
	}
	want(premium)
}
