package keys

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzVerifyPublished checks, for any header and payload that a trusted publisher
// signs, that the returned claims are of this publisher, within bounds and within
// their validity, and that no claims are returned with an error.
func FuzzVerifyPublished(f *testing.F) {
	f.Add(plainHeader, sharePayload(namesOnly), int64(0))
	f.Add(plainHeader, sharePayload(`"contentNames":[],"scopes":["premium"],"maxUses":3,"data":{"a":[]}`), int64(3600))
	f.Add(plainHeader, sharePayload(namesOnly+`,"type":1`), int64(0))
	f.Add(`{"alg":"ES256"}`, shareWith(`,"jti":"0f1e2d3c4b5a69788796a5b4c3d2e1f0"`, ""), int64(-60))
	f.Add(`{"alg":"ES256","typ":"application/Gatefold-Link+JWT"}`, linkPayload().with("iss", `"news.example"`).String(), int64(0))
	f.Add(`{"alg":"ES256","typ":"gatefold-link+jwt"}`, linkPayload().with("iss", `"news.example"`).with("jti", "").String(), int64(0))
	f.Add(`{"alg":"none"}`, `{"domain":"news.example","Domain":"x"}`, int64(0))
	f.Fuzz(func(t *testing.T, header, payload string, seconds int64) {
		now := noon.Add(time.Duration(seconds%(1<<31)) * time.Second)
		token, err := Scan(forge(newsKey, header, payload))
		if err != nil {
			return
		}
		got, err := news.Verify(t.Context(), &token, now)
		if err != nil {
			known := slices.ContainsFunc([]error{ErrDomain, ErrShareType, ErrContents}, func(e error) bool { return errors.Is(err, e) })
			if !known && !isTokenError(err) || !reflect.DeepEqual(got, Published{}) {
				t.Fatalf("got %+v with error %v", got, err)
			}
			return
		}
		c := got.Claims
		switch {
		case c.Issuer != newsDomain, got.KeyID != newsKey.ID(), token.PublisherOf(true) != newsDomain:
			t.Fatalf("of another publisher: %+v", got)
		case c.ID == "", len(c.ID) > MaxLinkID, c.PublisherContentID == "", len(c.PublisherContentID) > MaxLinkText, c.MaxUses < 0, c.MaxUses > MaxMaxUses:
			t.Fatalf("out of bounds: %+v", got)
		case c.MaxUses > 0 && token.claims.find("jti") == nil, len(c.ContentNames) > 0 && len(c.Scopes) > 0:
			t.Fatalf("counted without an id, or with both contents and scopes: %+v", got)
		case !token.isLink() && len(c.ContentNames)+len(c.Scopes) == 0:
			t.Fatalf("neither contents nor scopes: %+v", got)
		case now.Unix() >= c.ExpiresAt, c.NotBefore > now.Unix()+Leeway, c.IssuedAt > now.Unix()+Leeway:
			t.Fatalf("outside its validity: %+v at %d", got, now.Unix())
		}
	})
}

// FuzzNormalDomain checks that a normal form is a plain host name and stable.
func FuzzNormalDomain(f *testing.F) {
	for _, seed := range []string{"example.com", "Example.COM.", "bücher.example", "xn--bcher-kva.example", "1.2.3.4", "a..b", "faß.example.", "☃.net", "a\u200d.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := NormalDomain(text)
		if err != nil {
			return
		}
		if again, err := NormalDomain(name); err != nil || again != name {
			t.Fatalf("%q is %q, which is %q, %v", text, name, again, err)
		}
		if len(name) > maxDomain || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.Contains(name, "..") || name[len(name)-1] == '.' {
			t.Fatalf("%q is accepted as %q", text, name)
		}
	})
}
