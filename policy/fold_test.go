package policy

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"

	"github.com/gatefold/gatefold/keys"
)

// readmeRules are the rules of the README: articles are sold, all else is public.
var readmeRules = []Rule{
	{Rank: 1, Path: "/articles/{publisherContentId}", Allow: entitledTo("premium", "{publisherContentId}")},
	{Rank: 2, Path: "/account", Allow: Allow{Operator: "authenticated"}},
	{Rank: 3, Path: "/", Allow: Allow{Operator: "any"}},
}

func newPathsEnv(t *testing.T, rules []Rule, paths PathOptions) *testEnv {
	t.Helper()
	env := newTestEnv(t)
	compiled, err := CompileRules(rules, StandardOperators())
	must(t, err)
	env.site = NewSite("acme", "news", compiled, paths, env.keys)
	return env
}

// Express, Koa, Windows and macOS serve each of these as /articles/hello or /account. No
// rule names them so, and the last rule would make them public.
var foldedSpellings = []string{
	"/Articles/hello", "/ARTICLES/hello", "/articleS/hello", "/%41rticles/hello", "/aRTICLES/hello/part",
	"/article%C5%BF/hello",    // long s
	"/Artıcles/hello",         // dotless i
	"/ARTİCLES/hello",         // dotted I
	"/%EF%BD%81rticles/hello", // full-width a
	"/articles./hello",        // Windows
	"/articles%20/hello",      // Windows
	"/Articles. ./hello",      // Windows
	"/articles::$DATA/hello",  // NTFS
	"/articles:$I30:$INDEX_ALLOCATION/hello",
	"/arti%E2%80%8Ccles/hello", // HFS+ ignores a zero-width non-joiner
	"/arti%C2%ADcles/hello",    // soft hyphen
	"/Account", "/ACCOUNT/settings", "/account.", "/account%20", "/account::$DATA",
}

func TestEverySpellingThatAnOriginTakesForTheNameIsGated(t *testing.T) {
	env := newPathsEnv(t, readmeRules, PathOptions{})
	exact := newPathsEnv(t, readmeRules, PathOptions{CaseSensitive: true})
	env.subscribe(0, 0)
	for _, path := range foldedSpellings {
		if decision := env.decide(testRequest{path: path}); decision.Reason != ReasonLoginRequired {
			t.Errorf("%s: %s", path, decision.Reason)
		}
		if decision := env.decide(testRequest{path: path, reader: ann}); !decision.Allow() || decision.Public() {
			t.Errorf("%s of a subscriber: %s", path, decision.Reason)
		}
		exact.want(testRequest{path: path}, ReasonPublic)
	}
	// Other names are other pages.
	for _, path := range []string{"/articlez/hello", "/articl/hello", "/art%C3%ADcles/hello", "/articles", "/accounts", "/x/articles/hello"} {
		env.want(testRequest{path: path}, ReasonPublic)
	}
}

// The capital letters of the rules themselves make no difference either, and the stricter
// of two rules counts.
func TestNamesOfRulesAreFolded(t *testing.T) {
	env := newPathsEnv(t, []Rule{
		{Rank: 1, Path: "/Magazine/Über", Allow: Allow{Operator: "authenticated"}},
		{Rank: 2, Path: "/shop", Allow: Allow{Operator: "any"}},
		{Rank: 3, Path: "/{section}/Intern", Allow: Allow{Operator: "authenticated"}},
		{Rank: 4, Path: "/SHOP", Allow: Allow{Operator: "authenticated"}},
		{Rank: 5, Path: "/", Allow: Allow{Operator: "any"}},
	}, PathOptions{})
	for path, want := range map[string]Reason{
		"/Magazine/Über": ReasonLoginRequired, "/magazine/über": ReasonLoginRequired, "/MAGAZINE/ÜBER/x": ReasonLoginRequired,
		"/magazine/u%CC%88ber": ReasonLoginRequired, // decomposed
		"/a/intern":            ReasonLoginRequired, "/a/Intern": ReasonLoginRequired, "/a/INTERN.": ReasonLoginRequired,
		"/magazine": ReasonPublic, "/shop": ReasonPublic, "/Shop": ReasonPublic,
		"/SHOP": ReasonLoginRequired, "/SHOP/x": ReasonLoginRequired,
	} {
		if decision := env.decide(testRequest{path: path}); decision.Reason != want {
			t.Errorf("%s: %s, want %s", path, decision.Reason, want)
		}
	}
}

// A capture has the bytes of the request, also if its rule matched without regard to case.
func TestFoldedMatchCapturesTheBytesOfTheRequest(t *testing.T) {
	env := newPathsEnv(t, readmeRules, PathOptions{})
	decision := env.decide(testRequest{path: "/Articles/Hello%20World."})
	if id, _ := decision.Param("publisherContentId"); id != "Hello World." {
		t.Errorf("captured %q", id)
	}
	env.newLink(keys.LinkClaims{ID: "lower", PublisherContentID: "hello"})
	held := LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("lower")}}
	env.want(testRequest{path: "/Articles/hello", link: held}, ReasonSignedLink)
	env.want(testRequest{path: "/Articles/Hello", link: held}, ReasonLoginRequired)
	// So does the content of a link by url.
	env.newLink(keys.LinkClaims{ID: "url", URL: "https://news.example/articles/hello"})
	held = LinkEvidence{Redeemed: []RedeemedLink{redeemedLink("url")}}
	env.want(testRequest{path: "/articles/hello", link: held}, ReasonSignedLink)
	env.want(testRequest{path: "/Articles/hello", link: held}, ReasonSignedLink)
	env.want(testRequest{path: "/Articles/Hello", link: held}, ReasonLoginRequired)
}

// Names that differ in the case mappings of any character, or in normalization, have one
// fold, and a fold is its own.
func TestFoldIsCoarserThanEveryCaseMapping(t *testing.T) {
	for c := rune(0x21); c <= unicode.MaxRune; c++ {
		if !unicode.In(c, unicode.L, unicode.M, unicode.N, unicode.S) {
			continue
		}
		name := "x" + string(c) + "y"
		want := fold(name)
		others := []string{strings.ToLower(name), strings.ToUpper(name), strings.ToTitle(name)}
		for other := unicode.SimpleFold(c); other != c; other = unicode.SimpleFold(other) {
			others = append(others, "x"+string(other)+"y")
		}
		for _, other := range others {
			if got := fold(other); got != want {
				t.Errorf("%U: %+q folds to %+q, %+q to %+q", c, name, want, other, got)
			}
		}
		if fold(want) != want {
			t.Errorf("%U: the fold of %+q is %+q", c, want, fold(want))
		}
	}
	for a, b := range map[string]string{"Straße": "STRASSE", "ﬁle": "FILE", "Å": "å", "ｘ": "X", "a\u200d": "A", "K": "k", "ſ": "S"} {
		require.Equal(t, fold(b), fold(a), "%q and %q", a, b)
	}
}

// FuzzFold compares the fold of a name with that of its spellings in other cases and with
// a dot behind it.
func FuzzFold(f *testing.F) {
	for _, seed := range []string{"articles", "Straße", "ſ", "A\u030a", "a. ", "x::$DATA", "ΑΣ", "i\u0307"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !utf8.ValidString(name) || strings.ContainsRune(name, '\u0345') {
			return // a mark that is a letter in capitals, to which later marks belong
		}
		want := fold(name)
		for _, other := range []string{strings.ToLower(name), strings.ToUpper(name), norm.NFC.String(name), norm.NFD.String(name), name + "."} {
			require.Equal(t, want, fold(other), "%+q and %+q", name, other)
		}
	})
}

// TestFoldedMatchEqualsALinearScan compares both lookups of the trie with trying each
// rule in order.
func TestFoldedMatchEqualsALinearScan(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 8)) //nolint:gosec // not a secret
	lower := []string{"a", "b", "é", "{x}", ":y"}
	mixed := append([]string{"A", "É", "ſ", "s."}, lower...)
	spellings := []string{"a", "A", "b", "B", "b.", "é", "E\u0301", "S", "ſ", "s", "z"}
	folds := 0
	for round := range 400 {
		words := lower
		if round%2 == 0 {
			words = mixed
		}
		set, rules := randomRules(t, random, words)
		for range 60 {
			var escaped strings.Builder
			for range 1 + random.IntN(5) {
				escaped.WriteString("/" + url.PathEscape(spellings[random.IntN(len(spellings))]))
			}
			method := []string{http.MethodGet, http.MethodPost}[random.IntN(2)]
			var path Path
			require.NoError(t, path.Read(escaped.String(), PathOptions{}))
			segments := path.Readings()[0]
			r := Request{Site: &Site{}, method: method, rules: set}
			r.matchForm(&path, false)
			exact := firstRule(rules, method, segments, func(name string) string { return name })
			folded := firstRule(rules, method, segments, fold)
			got := []int{rankOf(r.matches[0].rule), rankOf(r.matches[len(r.matches)-1].rule)}
			require.Equal(t, []int{exact, folded}, got, "%v %s %s", rules, method, escaped.String())
			if exact != folded {
				folds++
			}
		}
	}
	if folds < 1000 {
		t.Errorf("only %d paths matched another rule without regard to case", folds)
	}
}

func randomRules(t *testing.T, random *rand.Rand, words []string) (*Ruleset, []Rule) {
	t.Helper()
	var rules []Rule
	for rank := range 1 + random.IntN(20) {
		var path strings.Builder
		for range random.IntN(4) {
			path.WriteString("/" + words[random.IntN(len(words))])
		}
		rule := Rule{Rank: rank, Path: cmp.Or(path.String(), "/"), Allow: Allow{Operator: "any"}}
		if random.IntN(3) == 0 {
			rule.Methods = []string{http.MethodPost}
		}
		rules = append(rules, rule)
	}
	set, err := CompileRules(rules, StandardOperators())
	require.NoError(t, err)
	return set, rules
}

func rankOf(rule *compiledRule) int {
	if rule == nil {
		return -1
	}
	return rule.Rank
}

// firstRule returns the rank of the first rule that matches, or -1.
func firstRule(rules []Rule, method string, segments []string, form func(string) string) int {
next:
	for _, rule := range rules {
		template := strings.FieldsFunc(rule.Path, func(c rune) bool { return c == '/' })
		if len(template) > len(segments) || len(rule.Methods) > 0 && rule.Methods[0] != method {
			continue
		}
		for i, part := range template {
			if part[0] != '{' && part[0] != ':' && form(part) != form(segments[i]) {
				continue next
			}
		}
		return rule.Rank
	}
	return -1
}

// A path costs one lookup unless a name at the place of a rule's name, or of a rule,
// differs from its fold.
func TestPathWithoutCapitalsCostsOneLookup(t *testing.T) {
	plain, err := CompileRules(readmeRules, StandardOperators())
	must(t, err)
	capital, err := CompileRules(anyRules("/Blog"), StandardOperators())
	must(t, err)
	for escaped, want := range map[string]bool{
		"/": true, "/articles/hello": true, "/articles/Some-Article.PDF": true, "/x.y/Z/ÄÖ": false, "/Articles/hello": false, "/articles./x": false,
	} {
		var path Path
		require.NoError(t, path.Read(escaped, PathOptions{}))
		if got := plain.ownFold(&path); got != want {
			t.Errorf("%s: one lookup: %t", escaped, got)
		}
		if capital.ownFold(&path) {
			t.Errorf("%s: one lookup although a rule has a capital", escaped)
		}
	}
}

// Benchmarks of one run: the second must cost what the first does, the last two lookups.
func BenchmarkFoldedMatch(b *testing.B) {
	set := manyRules(b, 1000)
	for _, c := range []struct{ name, path string }{
		{"exact", "/section-500/article/some-article-of-today"},
		{"plain", "/section-500/article/some-article-of-today"},
		{"capital", "/Section-500/article/some-article-of-today"},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := Request{Site: &Site{Paths: PathOptions{CaseSensitive: c.name == "exact"}}, method: http.MethodGet, rules: set}
			b.ReportAllocs()
			for b.Loop() {
				_ = r.path.Read(c.path, PathOptions{})
				r.matches = r.few[:0]
				r.matchForm(&r.path, false)
			}
		})
	}
}
