package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func (w *world) rules(rules ...Rule) {
	w.t.Helper()
	for i := range rules {
		rules[i].Rank = i + 1
	}
	compiled, err := CompileRules(rules, StandardOperators())
	must(w.t, err)
	w.site = NewSite("acme", "news", compiled, PathOptions{}, w.keys)
}

func wire(t *testing.T, path, allow string) Rule {
	t.Helper()
	parsed, err := ParseAllow(allow)
	must(t, err)
	return Rule{Path: path, Allow: parsed}
}

func TestSelf(t *testing.T) {
	w := newWorld(t)
	w.rules(wire(t, "/users/{user}", "self"), wire(t, "/people/{id}", `self/{"user":"{id}"}`), wire(t, "/root", `self/{"user":"ann"}`))
	for _, path := range []string{"/users/ann", "/users/ann/orders", "/people/ann", "/root"} {
		w.want(visit{path: path, reader: ann}, ReasonAuthenticated)
		w.want(visit{path: path}, ReasonLoginRequired)
		w.want(visit{path: path, reader: Reader{UserID: "mallory"}}, ReasonNotEntitled)
	}
	// An id is compared letter by letter, and no other identifier counts.
	for _, reader := range []Reader{{UserID: "Ann"}, {UserID: "x", Email: "ann"}, {UserID: "x", PublisherUserID: "ann"}} {
		w.want(visit{path: "/users/ann", reader: reader}, ReasonNotEntitled)
	}
	for _, bad := range []Rule{wire(t, "/users", "self"), wire(t, "/users/{user}", `self/{"user":"{id}"}`), wire(t, "/users/{user}", `self/{"sku":"x"}`)} {
		if _, err := CompileRules([]Rule{bad}, StandardOperators()); err == nil {
			t.Errorf("%s is accepted", bad.Allow)
		}
	}
}

// DjaoApp's code 15, for readers who have their plans themselves.
func TestSubscribed(t *testing.T) {
	w := newWorld(t)
	w.rules(
		wire(t, "/any", "15"), wire(t, "/plan", `15/{"profile":null,"plan":"premium","brokers":null}`),
		wire(t, "/plans", `subscribed/{"plan":["gold","premium"]}`), wire(t, "/gold", `15/{"plan":"gold"}`),
		wire(t, "/app/{profile}", `15/{"plan":"premium"}`), wire(t, "/on/{plan}", "15"),
	)
	allowed := []string{"/any", "/plan", "/plans", "/app/" + ann.UserID, "/on/premium"}
	denied := []string{"/gold", "/app/other", "/on/gold"}
	for _, path := range append(allowed, denied...) {
		w.want(visit{path: path}, ReasonLoginRequired)
		w.want(visit{path: path, reader: ann}, ReasonNotEntitled)
	}
	w.subscribe(0, 0)
	for _, path := range allowed {
		if d := w.want(visit{path: path, reader: ann}, ReasonEntitled); d.SKU != "premium" || d.Grant == "" {
			t.Errorf("%s: let in by %q, %q", path, d.SKU, d.Grant)
		}
	}
	for _, path := range denied {
		w.want(visit{path: path, reader: ann}, ReasonNotEntitled)
	}
	// A link opens no such page.
	w.want(visit{path: "/plan", link: LinkEvidence{Token: "x", Readable: true, Spendable: true}}, ReasonLoginRequired)
	for _, bad := range []string{`15/{"brokers":["abc"]}`, `15/{"roledescription":"manager"}`, `15/{"plan":7}`, `15/{"profile":"{other}"}`} {
		if _, err := CompileRules([]Rule{wire(t, "/x", bad)}, StandardOperators()); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// A subscription that begins or ends decides from that moment on.
func TestSubscribedInTime(t *testing.T) {
	w := newWorld(t)
	w.rules(wire(t, "/any", "15"))
	w.subscribe(1000, 2000)
	for i, want := range []Reason{ReasonNotEntitled, ReasonEntitled, ReasonNotEntitled} {
		if d := w.want(visit{path: "/any", reader: ann}, want); i < 2 && d.Until != start*1000+int64(i+1)*1000 {
			t.Errorf("at %d the decision holds until %d", i, d.Until)
		}
		w.clock.Add(1000)
	}
}

// What cannot be answered is refused, and the refusal says what it asks for.
func TestOperatorsThatNobodyCanAnswer(t *testing.T) {
	known := map[int]bool{0: true, 1: true, 15: true}
	for code := range 19 {
		_, err := CompileRules([]Rule{wire(t, "/x", fmt.Sprint(code))}, StandardOperators())
		switch {
		case known[code] && err != nil:
			t.Errorf("%d: %v", code, err)
		case !known[code] && (!errors.Is(err, ErrUnknownOperator) || !strings.Contains(err.Error(), "it asks ")):
			t.Errorf("%d is accepted, or nobody says why not: %v", code, err)
		}
	}
	if _, err := CompileRules([]Rule{wire(t, "/x", "19")}, StandardOperators()); err == nil || !strings.Contains(err.Error(), "known are") {
		t.Errorf("19: %v", err)
	}
}
