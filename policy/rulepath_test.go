package policy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// An operator who writes a rule in the syntax of another server meant to protect pages. Such a
// rule would match nothing, and `rule / any` would open them.
func TestSignsOfAnotherSyntaxAreRefused(t *testing.T) {
	for path, remedy := range map[string]string{
		"~^/articles/.*$": "slash", "^/articles": "slash", "/^articles": "templates by segments", "/articles$": "ends with $", "/$": "ends with $",
		"/articles/.*": "wildcard", "/articles/.+": `.+`, "/(a|b)": "templates", "/[a-z]": "templates", "/articles/[slug]": "templates", `/\d+`: "backslash", `/a\.html`: "backslash",
		"/*.pdf": "wildcard", "/a/**": "wildcard", "/a*": "wildcard", "/articles/*": "wildcard", "/a?": "queries", "/a?b=c": "queries", "/x.{jpg,png}": "alternatives",
		"/a#b": "fragment", "{env.X}/articles": "placeholders", "/{env.X}": "placeholders", "/{$X}/a": "placeholders", "/{http.request.uri.path}": "placeholders",
		"/a{env.X}b": "placeholders", "/a{$X}": "placeholders", "/a b": "leave spaces out", " /a": "slash", "/a;b": "paths { allow parameters }", `/a\`: "backslash", `/a\b`: "backslash", `/a\\b`: "backslash",
		"/<id>": "templates", `/"a"`: "quotes", "@articles": "slash", "!/a": "slash", "=/a": "slash", "~/a": "slash", "/~/a": "templates", "": "slash",
		"https://news.example.com/a": "single slashes", "/a//b": "single slashes", "/:id.json": "not a name", "/a%20b": "decoded", "/a\u00a0b": "invisible", "/a\u200bb": "invisible",
		"/a/../b": "dot segment", "/.gatefold/l/{token}": "the gate's own", "/.Gatefold": "the gate's own", ".gatefold/x": "slash", `/\.gatefold/x`: "backslash", "/./a": "dot segment", `/a\%41`: "doubly encoded", "/(a)+": `)+`, "/a{2}+": "}+",
	} {
		_, err := CompileRules([]Rule{{Path: path, Allow: Allow{Operator: "any"}}}, StandardOperators())
		require.ErrorContains(t, err, remedy, path)
	}
}

// Characters that real paths have are legitimate, and a backslash escapes a sign.
func TestLiteralCharactersOfRules(t *testing.T) {
	for path, want := range map[string]string{
		"/~user": "~user", "/c++": "c++", "/a(b)": "a(b)", "/$metadata": "$metadata", "/@user": "@user", "/Special:Search": "Special:Search", "/a,b;": "", "/é": "é", "/a=b&c'd!": "a=b&c'd!",
		"/{open": "{open", "/pre{x}": "pre{x}", "/{}": "{}", "noslash": "noslash", "/google+": "google+",
		`/a\*b`: "a*b", `/a\?b`: "a?b", `/a\#b`: "a#b", `/100\%`: "100%", `/a\ b`: "a b", `/a\;b`: "a;b", `/us\$`: "us$", `/\~`: "~", `/\:id`: ":id", `/\{id\}`: "{id}", `/\[a\|b\]`: "[a|b]", `/\^`: "^",
	} {
		set, err := CompileRules([]Rule{{Path: path, Allow: Allow{Operator: "any"}}}, StandardOperators())
		if want == "" {
			require.Error(t, err, path)
			continue
		}
		require.NoError(t, err, path)
		rule := set.match("GET", []string{want})
		require.NotNil(t, rule, path)
		require.Equal(t, path, rule.Path) // as stored
		require.Nil(t, set.match("GET", []string{"other"}), path)
	}
}
