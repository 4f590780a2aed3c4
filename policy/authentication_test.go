package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

func TestAuthenticationArguments(t *testing.T) {
	for _, c := range []struct{ allow, want string }{
		{`authenticated/{}`, ""},
		{`authenticated/{"acr":"phr"}`, ""},
		{`1/{"acr":["urn:mace:incommon:iap:silver","phr"],"max_age":"15m"}`, ""},
		{`authenticated/{"max_age":"2m"}`, ""},
		{`authenticated/{"max_age":"9600h"}`, ""},
		{`authenticated/{"acr":null,"max_age":null}`, ""},
		{`all/{"steps":["signed","authenticated/{\"acr\":\"phr\"}"]}`, ""},

		{`authenticated/{"amr":"mfa"}`, `takes no argument "amr"`},
		{`authenticated/{"acr":""}`, "is empty"},
		{`authenticated/{"acr":"a b"}`, "has a space"},
		{`authenticated/{"acr":"a\"b"}`, "without spaces, quotes"},
		{`authenticated/{"acr":"a\r\nb"}`, "without spaces, quotes"},
		{`authenticated/{"acr":"{a}"}`, "without spaces, quotes"},
		{`authenticated/{"acr":5}`, "a string or a list"},
		{`authenticated/{"acr":"` + strings.Repeat("a", 256) + `"}`, "more than 255 bytes"},
		{`authenticated/{"max_age":900}`, "max_age must be a string"},
		{`authenticated/{"max_age":"900"}`, "such as 15m"},
		{`authenticated/{"max_age":"15.5s"}`, "whole seconds"},
		{`authenticated/{"max_age":"0s"}`, "max_age must be 2m to 9600h"},
		{`authenticated/{"max_age":"-5m"}`, "max_age must be 2m to 9600h"},
		{`authenticated/{"max_age":"119s"}`, "max_age must be 2m to 9600h"},
		{`authenticated/{"max_age":"9601h"}`, "max_age must be 2m to 9600h"},
	} {
		_, err := compileOne(c.allow)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s: %v, want %q", c.allow, err, c.want)
		}
	}
	for words, want := range map[string]string{
		"acr phr":                    `{"acr":["phr"]}`,
		"acr phr phrh max_age 15m":   `{"acr":["phr","phrh"],"max_age":"15m"}`,
		"max_age 15m acr phr":        `{"acr":["phr"],"max_age":"15m"}`,
		"phr":                        "each once",
		"max_age 15m 5m":             "each once",
		"acr phr max_age 5m acr x":   "each once",
		"max_age 15m max_age 15m":    "each once",
		"acr":                        "has no value",
		"acr max_age 15m":            "has no value",
		"acr phr max_age":            "has no value",
		"level phr max_age 15m acr ": "each once",
	} {
		step, err := StandardOperators().Words("authenticated", strings.Fields(words))
		text := (&Allow{Operator: "authenticated", Arguments: step.Arguments}).String()
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s: %s, want %s", words, text, want)
		}
	}
	for _, c := range []struct{ acr, age, want string }{
		{"", "", ""},
		{"phr phrh", "900", ""},
		{"", "120", ""},
		{"", "0", "2m"},
		{"", "119", "2m"},
		{"", "-1", "2m"},
		{"", "34560001", "2m"},
		{"", "x", "number"},
		{"", "99999999999999999999", "number"},
		{"a\"b", "", "quotes"},
		{strings.Repeat("a", 256), "", "255"},
	} {
		got, err := ParseAuthentication(c.acr, c.age)
		if (c.want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), c.want) || got != Authentication{}) {
			t.Errorf("%q %q: %+v, %v", c.acr, c.age, got, err)
		}
	}
}

// A rule accepts a login by its class and its age, as its token states them. What a token does
// not state does not count, and neither does a time that is far ahead.
func TestAuthenticationOfTokens(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(
		parseRule(t, "/acr", `authenticated/{"acr":["phr","phrh"]}`), parseRule(t, "/age", `authenticated/{"max_age":"15m"}`),
		parseRule(t, "/both", `1/{"acr":"phr","max_age":"15m"}`),
	)
	claims := func(acr string, ago int64) keys.ReaderClaims {
		at := start - ago
		if ago == never {
			at = 0
		}
		return keys.ReaderClaims{UserID: "ann", ACR: acr, AuthTime: at}
	}
	for range 2 { // verified, and then from memory
		for _, c := range []struct {
			path   string
			claims keys.ReaderClaims
			want   Reason
			says   string
		}{
			{"/acr", claims("phr", never), ReasonAuthenticated, ""},
			{"/acr", claims("phrh", never), ReasonAuthenticated, ""},
			{"/acr", claims("ph", 0), ReasonStepUpRequired, `the acr of the login is "ph", and the page accepts phr phrh`},
			{"/acr", claims("phr phrh", 0), ReasonStepUpRequired, "the acr of the login is"},
			{"/acr", claims("", 0), ReasonStepUpRequired, "has no acr"},
			{"/age", claims("", 0), ReasonAuthenticated, ""},
			{"/age", claims("", 899), ReasonAuthenticated, ""},
			{"/age", claims("", -60), ReasonAuthenticated, ""},
			{"/age", claims("", 900), ReasonStepUpRequired, "the login is 900 seconds old, and max_age of the page is 900"},
			{"/age", claims("", -61), ReasonStepUpRequired, "61 seconds ahead"},
			{"/age", claims("", -1<<45), ReasonStepUpRequired, "seconds ahead"},
			{"/age", claims("phr", never), ReasonStepUpRequired, "has no auth_time"},
			{"/both", claims("phr", 10), ReasonAuthenticated, ""},
			{"/both", claims("phr", 901), ReasonStepUpRequired, "seconds old"},
			{"/both", claims("x", 10), ReasonStepUpRequired, "the acr of the login"},
		} {
			reader, err := env.policy.Reader(t.Context(), env.verifier(), env.readerToken(c.claims), env.now())
			must(t, err)
			d := env.decide(testRequest{path: c.path, reader: reader})
			if d.Reason != c.want {
				t.Errorf("%s with %+v: %s, want %s", c.path, c.claims, d.Reason, c.want)
			}
			if (d.Err == nil) != (c.says == "") || d.Err != nil && !strings.Contains(d.Err.Error(), c.says) {
				t.Errorf("%s with %+v: %v, want %q", c.path, c.claims, d.Err, c.says)
			}
			if until := (c.claims.AuthTime + 900) * 1000; d.Allow() && c.path != "/acr" && d.Until != until {
				t.Errorf("%s with %+v: until %d, want %d", c.path, c.claims, d.Until, until)
			}
		}
	}
	d := env.decide(testRequest{path: "/both"})
	if d.Reason != ReasonLoginRequired || d.Demand.Authentication() != (Authentication{"phr", 900}) {
		t.Errorf("anonymous: %s, %+v", d.Reason, d.Demand)
	}
	// Two minutes later the login that was recent is not.
	reader := Reader{UserID: "ann", AuthTime: start - 800}
	env.want(testRequest{path: "/age", reader: reader}, ReasonAuthenticated)
	env.advance(2 * time.Minute)
	env.want(testRequest{path: "/age", reader: reader}, ReasonStepUpRequired)
}

func init() {
	decideCases = append(decideCases, decideCase{"the login is too weak", func(env *testEnv) testRequest {
		env.rule("/vault", `authenticated/{"acr":"phr"}`)
		return testRequest{path: "/vault", reader: Reader{UserID: "ann", ACR: "pwd"}}
	}, ReasonStepUpRequired})
}
