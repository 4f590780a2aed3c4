package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
)

// slotSite is a site with every place where a token may be put. One key signs the tokens
// of another issuer and of a publisher domain: only the types keep them apart.
type slotSite struct {
	*apiSite
	*partner
}

func newSlotSite(t *testing.T) *slotSite {
	t.Helper()
	p := newPartner(t)
	s := &slotSite{&apiSite{testSite: newTestSite(t, standardRules)}, p}
	set, err := json.Marshal(p.keySet())
	if err != nil {
		t.Fatal(err)
	}
	gate := "identify jwt {\nissuer https://id.example.com\njwks " + s.write("jwks.json", string(set)) + "\naudience news\ncookie id\n}" + shareRules
	port := keystest.FreePort(t)
	s.apiSite.api = "http://127.0.0.1:" + port
	s.load(s.config("", gate, "") + "\nhttp://127.0.0.1:" + port + " {\n" + boundAPI + "\n}\n")
	s.pin(p)
	return s
}

// issued signs a token of the other issuer for the reader u.
func (s *slotSite) issued(typ, audience, more string) string {
	header := `{"alg":"ES256","kid":"` + partnerKeyID + `"` + typ + `}`
	now := clock.Now().Unix()
	return s.sign(header, fmt.Sprintf(`{"iss":"https://id.example.com","aud":%q,"sub":"u","jti":"j","iat":%d,"exp":%d%s}`, audience, now, now+3600, more))
}

// open puts a token into each slot, and returns those that it opens.
func (s *slotSite) open(t *testing.T, token string) []string {
	t.Helper()
	var opened []string
	for slot, send := range map[string]func() answer{
		"bearer":        func() answer { return s.get("/account", "Authorization", "Bearer "+token) },
		"reader cookie": func() answer { return s.get("/account", "Cookie", "reader="+token) },
		"id cookie":     func() answer { return s.get("/account", "Cookie", "id="+token) },
		"link cookie":   func() answer { return s.get("/articles/hello", "Cookie", linkCookiePrefix+"AAAAAAAAAAAA="+token) },
		"token":         func() answer { return s.get("/articles/hello?token=" + token) },
		"share":         func() answer { return s.get("/articles/hello?share=" + token) },
		"API": func() answer {
			return s.get(s.apiSite.api+"/management/signed-links", "Authorization", "Bearer "+token)
		},
		"API query": func() answer { return s.get(s.apiSite.api + "/management/signed-links?access_token=" + token) },
	} {
		switch got := send(); got.StatusCode {
		case http.StatusOK:
			opened = append(opened, slot)
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest:
		default:
			t.Errorf("%s: status %d %s", slot, got.StatusCode, got.body)
		}
	}
	slices.Sort(opened)
	return opened
}

// A client puts every kind of token into every place for one. A token opens what it was
// made for, and nothing else: a logout token, a link or a token for another API is no
// reader's credential.
func TestTokensOpenOnlyTheirOwnSlots(t *testing.T) {
	s := newSlotSite(t)
	link, _ := s.link(keys.LinkClaims{PublisherContentID: "hello"})
	_, link, _ = strings.Cut(link, "token=")
	now := clock.Now().Unix()
	publisherLink := s.sign(`{"alg":"ES256","typ":"gatefold-link+jwt","kid":"`+partnerKeyID+`"}`,
		fmt.Sprintf(`{"iss":%q,"publisherContentId":"hello","jti":"p1","iat":%d,"exp":%d}`, partnerDomain, now, now+3600))
	events := `,"events":{"http://schemas.openid.net/event/backchannel-logout":{}}`
	tests := map[string]struct{ token, opens string }{
		"reader":         {s.reader(keys.ReaderClaims{UserID: "u"}), "bearer, reader cookie"},
		"link":           {link, "token"},
		"publisher link": {publisherLink, "share, token"},
		"share":          {s.share("share_1", ""), "share"},
		"API access":     {s.token(defaultVendor, "links:*"), "API"},
		"ID token":       {s.issued(`,"typ":"JWT"`, "news", `,"nonce":"n","auth_time":1`), "bearer, id cookie"},
		"no type":        {s.issued("", "news", ""), "bearer, id cookie"},
		"at+jwt":         {s.issued(`,"typ":"at+jwt"`, "news", `,"client_id":"c"`), "bearer, id cookie"},

		"at+jwt of another audience": {s.issued(`,"typ":"at+jwt"`, "another-api", ""), ""},
		"logout token without typ":   {s.issued("", "news", events), ""},
	}
	for _, typ := range []string{"logout+jwt", "secevent+jwt", "dpop+jwt", "oauth-authz-req+jwt", "client-authentication+jwt", "gatefold-reader+jwt", "gatefold-session+jwt", "gatefold-access+jwt"} {
		tests[typ] = struct{ token, opens string }{s.issued(`,"typ":"`+typ+`"`, "news", ""), ""}
		tests[typ+" of the vendor's name"] = struct{ token, opens string }{s.sign(`{"alg":"ES256","typ":"`+typ+`","kid":"`+partnerKeyID+`"}`,
			fmt.Sprintf(`{"iss":"gatefold:default","aud":"default","sub":"u","jti":"j","iat":%d,"exp":%d}`, now, now+3600)), ""}
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if opened := strings.Join(s.open(t, tests[name].token), ", "); opened != tests[name].opens {
			t.Errorf("%s opens %q, want %q", name, opened, tests[name].opens)
		}
	}
}
