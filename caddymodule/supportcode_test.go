package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/supportcode"
)

// supportCode returns the support code of a problem.
func (a answer) supportCode(t *testing.T) string {
	t.Helper()
	var problem struct{ SupportCode string }
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || len(problem.SupportCode) != supportcode.Size {
		t.Fatalf("the problem has no support code: %s", a.body)
	}
	return problem.SupportCode
}

// refusedRequest asks the API for the refusal with a code, once it is written.
func (s *testSite) refusedRequest(code string) (refused admin.RefusedRequest, then, now admin.Explanation, text string) {
	s.Helper()
	handler, err := s.app().newAPI()
	if err != nil {
		s.Fatal(err)
	}
	s.waitFor("the refusal with the code "+code, func() bool {
		got := httptest.NewRecorder()
		handler.ServeHTTP(got, httptest.NewRequestWithContext(s.Context(), http.MethodGet, "/management/decisions/"+code+"?vendor="+defaultVendor, nil))
		text = got.Body.String()
		return got.Code == http.StatusOK
	})
	if err := json.Unmarshal([]byte(text), &refused); err != nil {
		s.Fatal(err)
	}
	if err := json.Unmarshal(refused.Then, &then); err != nil {
		s.Fatalf("then: %v: %s", err, text)
	}
	if err := json.Unmarshal(refused.Now, &now); err != nil {
		s.Fatalf("now: %v: %s", err, text)
	}
	return refused, then, now, text
}

// A subscriber whose grant had ended mails the code of the page. The support desk sees the
// request, the rule and the grant as they were, and that the reader may read now. Nothing of
// their token, their address, their e-mail address and the values of the query is kept.
func TestSupportCodeOfASubscriber(t *testing.T) {
	s := newTestSite(t, standardRules)
	ended := clock.Now().Add(-time.Hour)
	s.grant(store.Grant{UserID: "ann", SKU: "premium", EndsAt: &ended})
	s.grant(store.Grant{Email: "ann@example.com", SKU: "other"})
	token := s.reader(keys.ReaderClaims{UserID: "ann", Email: "ann@example.com", EmailVerified: true})
	got := s.get("/articles/hello?page=2&reset=Secret-5", "Authorization", "Bearer "+token, "X-Forwarded-For", "203.0.113.99")
	got.denied(http.StatusForbidden, "not_entitled")
	code := got.supportCode(t)

	_, then, _, before := s.refusedRequest(code)
	s.grant(store.Grant{UserID: "ann", SKU: "premium"})
	refused, _, now, text := s.refusedRequest(strings.ToLower(code[:4] + "-" + code[4:]))
	if refused.Code != code || refused.UserID != "ann" || !refused.Mailed || refused.Reason != "not_entitled" || refused.Status != http.StatusForbidden ||
		refused.Method != http.MethodGet || refused.Path != "/articles/hello" || !slices.Equal(refused.Query, []string{"page", "reset"}) ||
		refused.Rule != "/articles/{publisherContentId}" || refused.RequestID == "" {
		t.Errorf("the refusal is %s", text)
	}
	if then.Decision.Reason != "not_entitled" || len(then.Grants) != 1 || then.Grants[0].Why != "it has ended" || then.OtherGrants != 1 || then.Reader.UserID != "ann" {
		t.Errorf("then it was %+v", then)
	}
	if before == text {
		t.Error("the answer does not say what would be decided now")
	}
	if !now.Decision.Allow || len(now.Grants) != 2 {
		t.Errorf("now it is %+v", now)
	}
	text = strings.ReplaceAll(text, refused.Host, "")
	for _, secret := range []string{"Secret-5", "ann@example.com", token, "127.0.0.1", "203.0.113.99"} {
		if strings.Contains(text, secret) {
			t.Errorf("the answer has %q: %s", secret, text)
		}
	}
	if again := s.get("/articles/hello?page=2&reset=Secret-5", "Authorization", "Bearer "+token); again.StatusCode != http.StatusOK {
		t.Errorf("with the grant: %d", again.StatusCode)
	}
}

// The code of a gift link that was refused shows the checks of the link as they were, and its
// record as it is now, but not the token, and not the network of the reader.
func TestSupportCodeOfALink(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{IPPrefix: "192.0.2.0/24", MaxUses: 3})
	got := s.get(link[strings.Index(link, "/articles"):])
	got.denied(http.StatusForbidden, "link_other_network")
	code := got.supportCode(t)
	refused, then, _, text := s.refusedRequest(code)
	if refused.LinkID != id || then.Link == nil || then.Link.TokenID != id {
		t.Fatalf("the link is %s", text)
	}
	failed := then.Link.Checks[slices.IndexFunc(then.Link.Checks, func(c admin.ExplainedCheck) bool { return c.Check == "network" })]
	if failed.OK || failed.Detail != "it opens from 192.0.2.0/24 only" {
		t.Errorf("the check is %+v", failed)
	}
	if strings.Contains(strings.ReplaceAll(text, refused.Host, ""), "127.0.0.1") || strings.Contains(text, link[strings.Index(link, "token=")+6:]) {
		t.Errorf("the answer has the address or the token: %s", text)
	}
	if _, err := s.running().Store.As(store.Actor{}).RevokeLink(t.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), id); err != nil {
		t.Fatal(err)
	}
	if _, _, _, text := s.refusedRequest(code); !strings.Contains(text, "it was revoked at") || !strings.Contains(text, "0 of 3 uses are spent") {
		t.Errorf("after it was revoked: %s", text)
	}
}

// The page, the problem, the log and the placeholder have one code; a reload has the same, and
// another page another one. Anonymous readers of a page share one: nothing of them is kept.
func TestSupportCodeIsOneEverywhere(t *testing.T) {
	s := newTestSite(t, standardRules)
	code := s.get("/articles/hello").supportCode(t)
	page := s.get("/articles/hello", "Accept", browserAccept)
	shown := regexp.MustCompile(`class="code" dir="ltr">([0-9A-Z]{8})<`).FindStringSubmatch(page.body)
	if shown == nil || shown[1] != code {
		t.Errorf("the page shows %v, and the problem %s", shown, code)
	}
	if other := s.get("/articles/other").supportCode(t); other == code {
		t.Error("another page has the same code")
	}
	clock.Advance(time.Minute)
	if later := s.get("/articles/hello").supportCode(t); later == code {
		t.Error("a minute later, it is the same code")
	}
}

// A stranger who asks the API for codes at random, or for those of another vendor, learns
// nothing: there is no such refusal. A mistyped code is refused as one.
func TestSupportCodesAreNotGuessed(t *testing.T) {
	s := newTestSite(t, standardRules)
	code := s.get("/articles/hello").supportCode(t)
	s.refusedRequest(code)
	handler, err := s.app().newAPI()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(vendor, code string) *httptest.ResponseRecorder {
		got := httptest.NewRecorder()
		handler.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/management/decisions/"+code+"?vendor="+vendor, nil))
		return got
	}
	if got := ask("rival", code); got.Code != http.StatusNotFound {
		t.Errorf("another vendor's code: %d %s", got.Code, got.Body)
	}
	if got := ask(defaultVendor, supportcode.NotKept()); got.Code != http.StatusNotFound || !strings.Contains(got.Body.String(), `"not_kept"`) {
		t.Errorf("a refusal that was not kept: %d %s", got.Code, got.Body)
	}
	typo := []byte(code)
	for typo[0] = '0'; ; typo[0]++ {
		if _, _, err := supportcode.Parse(string(typo)); err != nil {
			break
		}
	}
	if got := ask(defaultVendor, string(typo)); got.Code != http.StatusUnprocessableEntity || !strings.Contains(got.Body.String(), "path.code") {
		t.Errorf("a typo: %d %s", got.Code, got.Body)
	}
	if got := ask(defaultVendor, "none"); got.Code != http.StatusUnprocessableEntity || !strings.Contains(got.Body.String(), "path.code") {
		t.Errorf("no code: %d %s", got.Code, got.Body)
	}
}
