package keys

import (
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// newsKey is the key of the publisher of these tests.
var newsKey = acmeKey

const newsDomain = "news.example"

// news is the publisher with a pinned key.
var news = NewPublisher(PublisherOptions{Domain: newsDomain, Pinned: NewKeySet(newsKey.Public())})

// sharePayload returns the payload of a share token, with its members in the order
// in which publishers write them.
func sharePayload(members string) string {
	return fmt.Sprintf(`{"type":"dca-share","domain":"news.example","resourceId":"article-1",%s,"iat":%s,"exp":%s,"jti":"0f1e2d3c4b5a69788796a5b4c3d2e1f0"}`,
		members, unix(0), unix(7*24*time.Hour))
}

const (
	plainHeader = `{"alg":"ES256","typ":"JWT"}`
	namesOnly   = `"contentNames":["bodytext","sidebar"]`
)

func shareWith(from, to string) string {
	payload := sharePayload(namesOnly)
	if !strings.Contains(payload, from) {
		panic("the payload has no " + from)
	}
	return strings.Replace(payload, from, to, 1)
}

func (p *Publisher) share(t *testing.T, raw string) (Published, error) {
	t.Helper()
	return p.shareAt(t, raw, noon)
}

func (p *Publisher) shareAt(t *testing.T, raw string, now time.Time) (Published, error) {
	t.Helper()
	token, err := Scan(raw)
	if err != nil {
		return Published{}, err
	}
	return p.verifyShare(t.Context(), &token, now)
}

// embeddedKeyHeader returns a header with an untrusted jwk and jku.
func embeddedKeyHeader() string {
	jwk, err := json.Marshal(jose.JSONWebKey{Key: stranger.private.Public()})
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"alg":"ES256","typ":"JWT","jwk":%s,"jku":"https://evil.example/keys"}`, jwk)
}

// Share tokens as publishers make them.
func TestShareTokens(t *testing.T) {
	for name, test := range map[string]struct {
		header, members       string
		contents, scopes, use string
	}{
		"names":                {plainHeader, namesOnly, "[bodytext sidebar]", "[]", "0"},
		"names and a kid":      {`{"alg":"ES256","typ":"JWT","kid":"2026-03"}`, namesOnly, "[bodytext sidebar]", "[]", "0"},
		"scopes":               {plainHeader, `"contentNames":[],"scopes":["premium"]`, "[]", "[premium]", "0"},
		"scopes, no names":     {plainHeader, `"scopes":["premium"]`, "[]", "[premium]", "0"},
		"counted, with data":   {plainHeader, namesOnly + `,"maxUses":10,"data":{"campaign":"spring"}`, "[bodytext sidebar]", "[]", "10"},
		"a key in the header":  {embeddedKeyHeader(), namesOnly, "[bodytext sidebar]", "[]", "0"},
		"without typ":          {`{"alg":"ES256"}`, namesOnly, "[bodytext sidebar]", "[]", "0"},
		"a type of its own":    {`{"alg":"ES256","typ":"dca-share+jwt"}`, namesOnly, "[bodytext sidebar]", "[]", "0"},
		"a fraction of a time": {plainHeader, namesOnly + `,"nbf":1.5`, "[bodytext sidebar]", "[]", "0"},
	} {
		raw := forge(newsKey, test.header, sharePayload(test.members))
		published, err := news.share(t, raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c := published.Claims
		got := []string{c.Issuer, c.PublisherContentID, c.ID, fmt.Sprint(c.ContentNames), fmt.Sprint(c.Scopes), fmt.Sprint(c.MaxUses), published.KeyID}
		want := []string{newsDomain, "article-1", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", test.contents, test.scopes, test.use, newsKey.ID()}
		if fmt.Sprint(got) != fmt.Sprint(want) || c.ExpiresAt != noon.Unix()+7*24*3600 {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
		if token, err := Scan(raw); err != nil || token.PublisherOf(true) != newsDomain {
			t.Errorf("%s: the publisher is %q", name, token.PublisherOf(true))
		}
	}
}

// Every check of the format's reference verifier in its order, and ours.
func TestRefusedShareTokens(t *testing.T) {
	forgeNews := func(payload string) string { return forge(newsKey, plainHeader, payload) }
	withHeader := func(header string) string { return forge(newsKey, header, sharePayload(namesOnly)) }
	good := forgeNews(sharePayload(namesOnly))
	input := good[:strings.LastIndexByte(good, '.')]
	r, s := signES256(newsKey, input)
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	zero, signature := new(big.Int), rawSignature(r, s)
	for name, test := range map[string]struct {
		raw  string
		want error
	}{
		// 8: the shape, the algorithm, the signature.
		"not three parts":           {input, ErrMalformed},
		"alg none":                  {withHeader(`{"alg":"none","typ":"JWT"}`), ErrAlgorithm},
		"alg HS256":                 {withHeader(`{"alg":"HS256","typ":"JWT"}`), ErrAlgorithm},
		"alg ES384":                 {withHeader(`{"alg":"ES384","typ":"JWT"}`), ErrAlgorithm},
		"crit":                      {withHeader(`{"alg":"ES256","typ":"JWT","crit":["exp"]}`), ErrMalformed},
		"b64":                       {withHeader(`{"alg":"ES256","typ":"JWT","b64":false}`), ErrMalformed},
		"an untrusted embedded key": {forge(stranger, embeddedKeyHeader(), sharePayload(namesOnly)), ErrSignature},
		"an untrusted key":          {forge(stranger, plainHeader, sharePayload(namesOnly)), ErrSignature},
		"DER":                       {input + "." + encode(der), ErrSignature},
		"63 bytes":                  {input + "." + encode(signature[:63]), ErrSignature},
		"65 bytes":                  {input + "." + encode(append(signature[:64:64], 0)), ErrSignature},
		"r is zero":                 {input + "." + encode(rawSignature(zero, s)), ErrSignature},
		"s is zero":                 {input + "." + encode(rawSignature(r, zero)), ErrSignature},
		"too long":                  {forgeNews(shareWith(`"iat"`, `"data":"`+strings.Repeat("x", MaxTokenSize)+`","iat"`)), ErrMalformed},
		// 9: the type, as claim and in the header.
		"no type":                      {forgeNews(shareWith(`"type":"dca-share",`, "")), ErrShareType},
		"another type":                 {forgeNews(shareWith(`dca-share`, "dca-render")), ErrShareType},
		"a number as type":             {forgeNews(shareWith(`"dca-share"`, "1")), ErrShareType},
		"our link's typ":               {withHeader(`{"alg":"ES256","typ":"gatefold-link+jwt"}`), ErrType},
		"our reader's typ":             {withHeader(`{"alg":"ES256","typ":"gatefold-reader+jwt"}`), ErrType},
		"another typ":                  {withHeader(`{"alg":"ES256","typ":"at+jwt"}`), ErrType},
		"another JWT of the publisher": {forgeNews(`{"iss":"news.example","sub":"article-1","iat":` + unix(0) + `,"jti":"x","scopes":["premium"]}`), ErrShareType},
		"a case variant of maxUses":    {forgeNews(shareWith(`"iat"`, `"MaxUses":5,"iat"`)), ErrMalformed},
		"a claim twice":                {forgeNews(shareWith(`"iat"`, `"domain":"evil.example","iat"`)), ErrMalformed},
		// 10: the domain.
		"another domain":      {forgeNews(shareWith(newsDomain, "evil.example")), ErrDomain},
		"in another case":     {forgeNews(shareWith(newsDomain, "News.example")), ErrDomain},
		"with a trailing dot": {forgeNews(shareWith(newsDomain, "news.example.")), ErrDomain},
		"no domain":           {forgeNews(shareWith(`"domain":"news.example",`, "")), ErrDomain},
		// 11: exp, then iat, are numbers.
		"no exp":           {forgeNews(shareWith(`"exp":`+unix(7*24*time.Hour)+`,`, "")), ErrClaims},
		"exp a string":     {forgeNews(shareWith(`"exp":`, `"exp":"1",`+`"x":`)), ErrClaims},
		"exp null":         {forgeNews(shareWith(`"exp":`, `"exp":null,"x":`)), ErrClaims},
		"exp an object":    {forgeNews(shareWith(`"exp":`, `"exp":{},"x":`)), ErrClaims},
		"exp true":         {forgeNews(shareWith(`"exp":`, `"exp":true,"x":`)), ErrClaims},
		"exp infinite":     {forgeNews(shareWith(`"exp":`, `"exp":1e400,"x":`)), ErrClaims},
		"exp negative":     {forgeNews(shareWith(`"exp":`, `"exp":-1,"x":`)), ErrClaims},
		"no iat":           {forgeNews(shareWith(`"iat":`+unix(0)+`,`, "")), ErrClaims},
		"iat a string":     {forgeNews(shareWith(`"iat":`, `"iat":"1","x":`)), ErrClaims},
		"iat null":         {forgeNews(shareWith(`"iat":`, `"iat":null,"x":`)), ErrClaims},
		"iat 61 s ahead":   {forgeNews(shareWith(`"iat":`+unix(0), `"iat":`+unix(61*time.Second))), ErrNotYetValid},
		"nbf 61 s ahead":   {forgeNews(shareWith(`"iat":`, `"nbf":`+unix(61*time.Second)+`,"iat":`)), ErrNotYetValid},
		"in milliseconds":  {forgeNews(shareWith(unix(7*24*time.Hour), unix(7*24*time.Hour)+"000")), ErrTooLong},
		"for 367 days":     {forgeNews(shareWith(unix(7*24*time.Hour), unix(367*24*time.Hour))), ErrTooLong},
		"expired now":      {forgeNews(shareWith(unix(7*24*time.Hour), unix(0))), ErrExpired},
		"expired long ago": {forgeNews(shareWith(unix(7*24*time.Hour), unix(-time.Hour))), ErrExpired},
		// 14: contents or scopes.
		"neither":               {forgeNews(sharePayload(`"contentNames":[]`)), ErrContents},
		"neither is there":      {forgeNews(shareWith(namesOnly+",", "")), ErrContents},
		"both":                  {forgeNews(sharePayload(namesOnly + `,"scopes":["premium"]`)), ErrContents},
		"names a string":        {forgeNews(sharePayload(`"contentNames":"bodytext"`)), ErrContents},
		"names of numbers":      {forgeNews(sharePayload(`"contentNames":[1]`)), ErrContents},
		"an empty name":         {forgeNews(sharePayload(`"contentNames":["a",""]`)), ErrContents},
		"a line feed in a name": {forgeNews(sharePayload(`"contentNames":["a\nb"]`)), ErrContents},
		"too many names":        {forgeNews(sharePayload(`"contentNames":["x"` + strings.Repeat(`,"x"`, 100) + `]`)), ErrContents},
		"scopes an object":      {forgeNews(sharePayload(`"contentNames":[],"scopes":{"premium":1}`)), ErrContents},
		"scopes null":           {forgeNews(sharePayload(namesOnly + `,"scopes":null`)), ErrContents},
		"no resourceId":         {forgeNews(shareWith(`"resourceId":"article-1",`, "")), ErrClaims},
		"resourceId empty":      {forgeNews(shareWith("article-1", "")), ErrClaims},
		"resourceId an int":     {forgeNews(shareWith(`"article-1"`, "1")), ErrClaims},
		// Our own checks.
		"maxUses without jti": {forgeNews(shareWith(`,"jti":"0f1e2d3c4b5a69788796a5b4c3d2e1f0"`, `,"maxUses":3`)), ErrClaims},
		"maxUses zero":        {forgeNews(shareWith(`"iat"`, `"maxUses":0,"iat"`)), ErrClaims},
		"maxUses negative":    {forgeNews(shareWith(`"iat"`, `"maxUses":-1,"iat"`)), ErrClaims},
		"maxUses a fraction":  {forgeNews(shareWith(`"iat"`, `"maxUses":1.5,"iat"`)), ErrClaims},
		"maxUses a string":    {forgeNews(shareWith(`"iat"`, `"maxUses":"3","iat"`)), ErrClaims},
		"jti a number":        {forgeNews(shareWith(`"0f1e2d3c4b5a69788796a5b4c3d2e1f0"`, "17")), ErrClaims},
		"jti empty":           {forgeNews(shareWith("0f1e2d3c4b5a69788796a5b4c3d2e1f0", "")), ErrClaims},
		"jti of 129 bytes":    {forgeNews(shareWith("0f1e2d3c4b5a69788796a5b4c3d2e1f0", strings.Repeat("j", 129))), ErrClaims},
		"jti with a space":    {forgeNews(shareWith("0f1e2d3c4b5a69788796a5b4c3d2e1f0", "a b")), ErrClaims},
	} {
		if _, err := news.share(t, test.raw); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	// The error is that of the first failed check.
	late := forge(stranger, plainHeader, shareWith(unix(7*24*time.Hour), unix(-time.Hour)))
	if _, err := news.share(t, late); !errors.Is(err, ErrSignature) {
		t.Errorf("forged and expired: %v", err)
	}
}

// A token is expired at `exp`, and `iat` has 60 seconds of leeway.
func TestShareTokenTimes(t *testing.T) {
	ahead := forge(newsKey, plainHeader, shareWith(`"iat":`+unix(0), `"iat":`+unix(time.Minute)))
	if _, err := news.share(t, ahead); err != nil {
		t.Errorf("issued 60 s ahead: %v", err)
	}
	raw := forge(newsKey, plainHeader, sharePayload(namesOnly))
	end := noon.Add(7 * 24 * time.Hour)
	if _, err := news.shareAt(t, raw, end.Add(-time.Second)); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	if _, err := news.shareAt(t, raw, end); !errors.Is(err, ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
}

// A token has 32 encodings that a lenient decoder accepts: two valid signatures
// with 16 endings each. Two are accepted, and both have the same link id.
func TestThirtyTwoSpellingsAreOneLink(t *testing.T) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for name, payload := range map[string]string{
		"with jti":    shareWith(`"iat"`, `"maxUses":3,"iat"`),
		"without jti": shareWith(`,"jti":"0f1e2d3c4b5a69788796a5b4c3d2e1f0"`, ""),
	} {
		raw := forge(newsKey, plainHeader, payload)
		input := raw[:strings.LastIndexByte(raw, '.')]
		r, s := signES256(newsKey, input)
		ids := map[string]bool{}
		accepted := 0
		for _, other := range []*big.Int{s, new(big.Int).Sub(order, s)} {
			text := encode(rawSignature(r, other))
			last := strings.IndexByte(digits, text[len(text)-1])
			for bits := range 16 {
				spelling := input + "." + text[:len(text)-1] + string(digits[last|bits])
				published, err := news.share(t, spelling)
				if err == nil {
					accepted++
					ids[published.Claims.ID] = true
				} else if !errors.Is(err, ErrMalformed) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if accepted != 2 || len(ids) != 1 {
			t.Errorf("%s: %d encodings were accepted, with the ids %v", name, accepted, ids)
		}
	}
}

// The id of a token without `jti` depends on its signing input: another token is
// another link.
func TestShareTokenWithoutID(t *testing.T) {
	payload := shareWith(`,"jti":"0f1e2d3c4b5a69788796a5b4c3d2e1f0"`, "")
	one, err := news.share(t, forge(newsKey, plainHeader, payload))
	wantError(t, err, nil)
	again, err := news.share(t, forge(newsKey, plainHeader, payload))
	wantError(t, err, nil)
	other, err := news.share(t, forge(newsKey, plainHeader, strings.Replace(payload, "article-1", "article-2", 1)))
	wantError(t, err, nil)
	if one.Claims.ID != again.Claims.ID || one.Claims.ID == other.Claims.ID || !strings.HasPrefix(one.Claims.ID, "sha256:") {
		t.Errorf("the ids are %q, %q and %q", one.Claims.ID, again.Claims.ID, other.Claims.ID)
	}
}

// A publisher signs a link in our own format.
func TestLinksByPublishers(t *testing.T) {
	header := `{"alg":"ES256","typ":"gatefold-link+jwt"}`
	payload := linkPayload().with("iss", `"news.example"`)
	verify := func(raw string) (Published, error) {
		token, err := Scan(raw)
		if err != nil {
			return Published{}, err
		}
		return news.VerifyLink(t.Context(), &token, noon)
	}
	published, err := verify(forge(newsKey, header, payload.with("maxUses", "5").with("sku", `"premium"`).String()))
	if err != nil || published.Claims.Issuer != newsDomain || published.Claims.PublisherContentID != "article-1" || published.Claims.MaxUses != 5 {
		t.Fatalf("got %+v, %v", published, err)
	}
	if withoutID, err := verify(forge(newsKey, header, payload.with("jti", "").String())); err != nil || !strings.HasPrefix(withoutID.Claims.ID, "sha256:") {
		t.Errorf("without jti: %+v, %v", withoutID, err)
	}
	for name, test := range map[string]struct {
		raw  string
		want error
	}{
		"no publisherContentId": {forge(newsKey, header, payload.with("publisherContentId", "").with("url", `"https://news.example/a"`).String()), ErrClaims},
		"another issuer":        {forge(newsKey, header, payload.with("iss", `"evil.example"`).String()), ErrDomain},
		"the vendor's name":     {forge(newsKey, header, linkPayload().String()), ErrDomain},
		"another spelling":      {forge(newsKey, header, payload.with("iss", `"NEWS.example"`).String()), ErrDomain},
		"in milliseconds":       {forge(newsKey, header, payload.with("exp", unix(time.Hour)+"000").String()), ErrTooLong},
		"expired":               {forge(newsKey, header, payload.with("exp", unix(0)).String()), ErrExpired},
		"not yet":               {forge(newsKey, header, payload.with("nbf", unix(2*time.Minute)).String()), ErrNotYetValid},
		"counted, without jti":  {forge(newsKey, header, payload.with("jti", "").with("maxUses", "1").String()), ErrClaims},
		"devices, without jti":  {forge(newsKey, header, payload.with("jti", "").with("maxDevices", "1").String()), ErrClaims},
		"an untrusted key":      {forge(stranger, header, payload.String()), ErrSignature},
		"a plain JWT":           {forge(newsKey, plainHeader, payload.String()), ErrType},
		"alg none":              {forge(newsKey, `{"alg":"none","typ":"gatefold-link+jwt"}`, payload.String()), ErrAlgorithm},
	} {
		if _, err := verify(test.raw); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	// Neither format is accepted as the other one.
	share := forge(newsKey, plainHeader, sharePayload(namesOnly))
	if _, err := verify(share); !errors.Is(err, ErrType) {
		t.Errorf("a share token as a link: %v", err)
	}
	if _, err := news.share(t, forge(newsKey, header, payload.String())); !errors.Is(err, ErrType) {
		t.Errorf("a link as a share token: %v", err)
	}
}

// Two keys are pinned during a rotation. A denied key is refused.
func TestPinnedKeysOverlap(t *testing.T) {
	next := mustGenerate()
	both := NewKeySet(newsKey.Public(), next.Public())
	publisher := NewPublisher(PublisherOptions{Domain: newsDomain, Pinned: both})
	header := `{"alg":"ES256","typ":"JWT","kid":"whatever the publisher calls it"}`
	for _, key := range []*SigningKey{newsKey, next} {
		published, err := publisher.share(t, forge(key, header, sharePayload(namesOnly)))
		if err != nil || published.KeyID != key.ID() || publisher.Trusts(t.Context(), key.ID()) != nil {
			t.Errorf("%s: %+v, %v", key.ID(), published, err)
		}
	}
	_, err := publisher.share(t, forge(stranger, header, sharePayload(namesOnly)))
	wantError(t, err, ErrSignature)
	wantError(t, publisher.Trusts(t.Context(), stranger.ID()), ErrUnknownKey)

	denying := NewPublisher(PublisherOptions{Domain: newsDomain, Pinned: both, Denied: map[string]bool{newsKey.ID(): true}})
	_, err = denying.share(t, forge(newsKey, header, sharePayload(namesOnly)))
	wantError(t, err, ErrDeniedKey)
	wantError(t, denying.Trusts(t.Context(), newsKey.ID()), ErrDeniedKey)
	_, err = denying.share(t, forge(next, header, sharePayload(namesOnly)))
	wantError(t, err, nil)
}

// With a key set, `kid` selects the key; without one the set must have exactly one
// key. A denied key is refused without a fetch, even while the host is down.
func TestPublisherWithKeySet(t *testing.T) {
	next := mustGenerate()
	h := newJWKSHost(t, newsKey)
	remote := h.fetched()
	publisher := NewPublisher(PublisherOptions{Domain: newsDomain, Remote: remote})
	named := func(key *SigningKey) string {
		return forge(key, fmt.Sprintf(`{"alg":"ES256","typ":"JWT","kid":%q}`, key.ID()), sharePayload(namesOnly))
	}
	withoutID := forge(newsKey, plainHeader, sharePayload(namesOnly))
	for _, raw := range []string{named(newsKey), withoutID} {
		published, err := publisher.share(t, raw)
		wantError(t, err, nil)
		if published.KeyID != newsKey.ID() {
			t.Errorf("the key is %q", published.KeyID)
		}
	}
	if h.Count() != 0 {
		t.Errorf("valid tokens caused %d fetches", h.Count())
	}
	h.serve(newsKey, next) // rotated between two requests
	_, err := publisher.share(t, named(next))
	wantError(t, err, nil)
	_, err = publisher.share(t, withoutID)
	wantError(t, err, ErrUnknownKey)
	if h.Count() != 1 {
		t.Errorf("the rotation caused %d fetches", h.Count())
	}

	h.Close()
	h.clock.Advance(time.Hour)
	denying := NewPublisher(PublisherOptions{Domain: newsDomain, Remote: remote, Denied: map[string]bool{newsKey.ID(): true}})
	before := h.sets.Stats().UnknownAsked
	_, err = denying.share(t, named(newsKey))
	wantError(t, err, ErrDeniedKey)
	_, err = denying.share(t, named(next))
	wantError(t, err, nil)
	wantError(t, denying.Trusts(t.Context(), newsKey.ID()), ErrDeniedKey)
	wantError(t, denying.Trusts(t.Context(), next.ID()), nil)
	if h.sets.Stats().UnknownAsked != before {
		t.Error("a denied key caused a fetch")
	}
}
