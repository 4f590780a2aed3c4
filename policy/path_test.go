package policy

import (
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestPathIsDecodedOnce(t *testing.T) {
	for escaped, want := range map[string][]string{
		"/":                     {},
		"/a":                    {"a"},
		"/a/":                   {"a"},
		"/a/b.c/d-e_f~g":        {"a", "b.c", "d-e_f~g"},
		"/%61rticles/x":         {"articles", "x"},
		"/caf%C3%A9":            {"café"},
		"/a%20b":                {"a b"},
		"/100%25":               {"100%"},
		"/100%25off":            {"100%off"},
		"/a%2525":               {"a%25"},
		"/a%2520b":              {"a%20b"},
		"/caf%25C3%25A9":        {"caf%C3%A9"},
		"/a:b@c!$&'()*+,=":      {"a:b@c!$&'()*+,="},
		"/.well-known/x":        {".well-known", "x"},
		"/..a/b..":              {"..a", "b.."},
		"/%E4%BD%A0%E5%A5%BD/1": {"你好", "1"},
		"/index.php":            {"index.php"},
		"/v1.2/a.html":          {"v1.2", "a.html"},
		"/page.php.html/x":      {"page.php.html", "x"},
		"/php/x":                {"php", "x"},
	} {
		var path Path
		require.NoError(t, path.Read(escaped, PathOptions{}), escaped)
		require.Len(t, path.Readings(), 1)
		require.ElementsMatch(t, want, path.Readings()[0], escaped)
	}
}

// The paths are bypasses that real products had. The gate and the origin must see the
// same page, so a path with several readings is refused before any rule applies.
func TestAmbiguousPathIsRefused(t *testing.T) {
	for _, escaped := range []string{
		// The rule for /fwd is open, the origin resolves the dots.
		"/fwd/../member/x", "/fwd/%2e%2e/member/x", "/fwd/%2E./member/x", "/fwd/.%2e/member/x", "/fwd/./x", "/fwd/%2e/x",
		"/..", "/.", "/%2e%2e", "/a/..", "/a/.", "/fwd%2f..%2fmember%2fx", "/fwd/..%2fmember/x",
		// Windows drops trailing dots and spaces.
		"/a/.. /b", "/a/..%20/b", "/a/.../b", "/a/%20/b", "/a/. ./b",
		// Empty segments.
		"//a", "/a//b", "/a//", "//", "//evil.example/premium",
		// Characters that some servers read as slashes.
		"/a%2fb", "/a%2Fb", "/a\\b", "/a%5cb", "/a%5Cb", "/premium%5C..%5Ca",
		// Path parameters (Tomcat, Spring).
		"/premium;v=1/a", "/a/..;/b", "/a%3bb", "/a%3Bb", "/.;/a",
		// NUL and control bytes.
		"/a%00", "/premium%00/a", "/a%0d%0ab", "/a%1f", "/a%7f", "/a\x01", "/a\x7f",
		// What is still an escape after one decoding.
		"/a%252fb", "/a%252e%252e/b", "/%252e%252e%252f", "/a%255cb", "/a%2500", "/a%252Fb",
		"/%2570remium", "/a%253bb", "/a%2541", "/prem%2569um/a", "/a%252Db",
		// Not UTF-8, overlong, or no escape at all.
		"/a%ff", "/%c0%ae%c0%ae/x", "/%c0%af", "/%ed%a0%80", "/a%f0%28%8c%28", "/a%", "/a%2", "/a%zz", "/a%u002f", "/%%32%65",
		// Path info (PHP, CGI, ASP, JSP): the script's framework routes what follows.
		"/index.php/member/x", "/index.php/", "/blog/Index.PHP/x", "/a.php5/x", "/x.phtml/y", "/cgi-bin/go.cgi/member", "/a.aspx/b", "/a.jsp/b/",
		"/index%2ephp/x", "/index.%70hp/x", "/index.php%2fx", "/index.php./x", "/index.php%20/x", "/index.php::$DATA/x", "/index.p%EF%BD%88p/x",
		// Not a path.
		"", "*", "a/b", "?", "http:/x",
	} {
		var path Path
		err := path.Read(escaped, PathOptions{})
		require.ErrorIs(t, err, ErrAmbiguousPath, "%q", escaped)
		require.Empty(t, path.Readings(), "%q", escaped)
	}
}

func TestPathErrorDoesNotEchoInput(t *testing.T) {
	var path Path
	err := path.Read("/<script>alert(1)</script>/..", PathOptions{})
	require.ErrorIs(t, err, ErrAmbiguousPath)
	require.NotContains(t, err.Error(), "script")
}

func TestPathReadingsOfAdmittedTraits(t *testing.T) {
	all := PathOptions{EmptySegments: true, EncodedSlash: true, Parameters: true, PathInfo: true}
	for _, c := range []struct {
		escaped string
		allow   PathOptions
		want    []string // each reading, its segments in <>
	}{
		{"/a//b", PathOptions{EmptySegments: true}, []string{"<a><b>", "<a><><b>"}},
		{"/a%2Fb", PathOptions{EncodedSlash: true}, []string{"<a/b>", "<a><b>"}},
		{"/a;v=1/b", PathOptions{Parameters: true}, []string{"<a;v=1><b>", "<a><b>"}},
		{"/a%3Bv/b", PathOptions{Parameters: true}, []string{"<a;v><b>", "<a><b>"}},
		{"/a%2Fb;c//d", all, []string{
			"<a/b;c><><d>", "<a/b;c><d>", "<a><b;c><><d>", "<a><b;c><d>",
			"<a/b><><d>", "<a/b><d>", "<a><b><><d>", "<a><b><d>",
		}},
		{"/plain", all, []string{"<plain>"}},
		{"/index.php", all, []string{"<index.php>"}},
		{"/blog/index.php/a/b", PathOptions{PathInfo: true}, []string{"<blog><index.php><a><b>", "<blog><a><b>", "<a><b>"}},
		{"/a/x.php/", PathOptions{PathInfo: true}, []string{"<a><x.php>", "<a>", "<>"}},
		{"/index.php%2Fa", all, []string{"<index.php/a>", "<index.php><a>", "<a>"}},
		{"/index.php;v/a", all, []string{"<index.php;v><a>", "<index.php><a>", "<a>"}},
		// A path that begins with two slashes can begin with an authority.
		{"//host/a", all, []string{"<><host><a>", "<host><a>", "<a>"}},
		{"///host/a/", all, []string{"<><><host><a>", "<host><a>", "<a>"}},
		{"//host//a", all, []string{"<><host><><a>", "<host><a>", "<><a>", "<a>", "<>"}},
		{"/%2Fhost/a", all, []string{"</host><a>", "<><host><a>", "<host><a>", "<a>"}},
		{"//host/index.php/a", all, []string{
			"<><host><index.php><a>", "<host><index.php><a>", "<index.php><a>", "<><host><a>", "<host><a>", "<a>",
		}},
		{"/index.php//host/a", all, []string{"<index.php><><host><a>", "<index.php><host><a>", "<><host><a>", "<host><a>", "<a>"}},
	} {
		var path Path
		require.NoError(t, path.Read(c.escaped, c.allow), c.escaped)
		seen := map[string]bool{}
		for _, reading := range path.Readings() {
			seen["<"+strings.Join(reading, "><")+">"] = true
		}
		for _, want := range c.want {
			require.True(t, seen[want], "%s is not read as %s but %v", c.escaped, want, seen)
		}
		require.Len(t, seen, len(c.want), "%s: %v", c.escaped, seen)
	}
}

// An admitted trait must not lead to a trait that is always refused.
func TestAdmittedTraitsYieldNoDotSegment(t *testing.T) {
	all := PathOptions{EmptySegments: true, EncodedSlash: true, Parameters: true, PathInfo: true}
	for _, escaped := range []string{"/a%2F..%2Fb", "/a/..;x/b", "/a%2F.%2Fb", "/..%2Fb", "/a/.%3Bx", "/a%2F%2e%2e", "/a\\b", "/a%5Cb", "/a%252Fb", "/a%00"} {
		var path Path
		require.ErrorIs(t, path.Read(escaped, all), ErrAmbiguousPath, escaped)
	}
	var path Path
	require.ErrorIs(t, path.Read("/a%2F%2Fb", PathOptions{EncodedSlash: true, Parameters: true}), ErrAmbiguousPath,
		"empty segments that come from encoded slashes are admitted only where empty segments are")
}

func TestPathIsBounded(t *testing.T) {
	var path Path
	require.ErrorIs(t, path.Read(strings.Repeat("/a", 1000), PathOptions{}), ErrAmbiguousPath)
	require.NoError(t, path.Read("/"+strings.Repeat("a", 10_000), PathOptions{}))
}

// A path can have many scripts and empty segments, and a site can admit all of them. The
// readings that follow are bounded.
func TestReadingsAreBounded(t *testing.T) {
	all := PathOptions{EmptySegments: true, EncodedSlash: true, Parameters: true, PathInfo: true}
	var path Path
	for n := range 64 {
		err := path.Read("//h"+strings.Repeat("/a.php/;x%2F"+strconv.Itoa(n)+"//b", n+1), all)
		require.LessOrEqual(t, len(path.Readings()), maxReadings)
		if n > 3 {
			require.ErrorIs(t, err, ErrAmbiguousPath)
		}
	}
}

func TestPathDoesNotAllocate(t *testing.T) {
	var path Path
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if path.Read("/articles/some-long-article-name/comments", PathOptions{}) != nil {
			t.Fail()
		}
	}))
}

// FuzzPath compares accepted paths with a plain decoding by net/url.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/", "/a/b", "/%61", "/a%2fb", "/a//b", "/..", "/%252e", "/a;b", "/caf%C3%A9", "/a.php/b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		var path Path
		if path.Read(escaped, PathOptions{}) != nil {
			return
		}
		decoded, err := url.PathUnescape(escaped)
		require.NoError(t, err)
		require.True(t, utf8.ValidString(decoded))
		var want []string
		for segment := range strings.SplitSeq(strings.TrimPrefix(decoded, "/"), "/") {
			require.NotEqual(t, "..", segment)
			require.NotEqual(t, ".", segment)
			want = append(want, segment)
		}
		if want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		require.ElementsMatch(t, want, path.Readings()[0])
		require.NotContains(t, decoded, "\\")
		require.NotContains(t, decoded, ";")
		require.NotContains(t, decoded, "//")
	})
}

// The parser for plain paths agrees with the full one, for every byte at every position
// and for random paths.
func TestFastPathEqualsFullParser(t *testing.T) {
	plain := 0
	same := func(escaped string) {
		t.Helper()
		var quick, thorough Path
		quickErr, err := quick.Read(escaped, PathOptions{}), thorough.readAny(escaped, PathOptions{})
		require.ErrorIs(t, quickErr, err, "%q", escaped)
		require.Equal(t, thorough.Readings(), quick.Readings(), "%q", escaped)
		if _, _, _, ok := splitPlain(new([pathSpace]string), escaped); ok {
			plain++
			require.NoError(t, err, "%q", escaped)
			segments := quick.Readings()[0]
			require.Equal(t, len(segments) > 0 && strings.Contains(segments[len(segments)-1], "."), quick.extension, "%q", escaped)
		}
	}
	for _, base := range []string{"/", "/a", "/abcdef", "/abcdefg", "/abcdefgh", "/articles/some-article/x", "/a/b/c/d/e/f/g/h/i/", "/articles/7bytes-/8bytes--/"} {
		same(base)
		for i := 1; i <= len(base); i++ {
			same(base[:i])
			for b := range 256 {
				same(base[:i] + string([]byte{byte(b)}) + base[i:])
				if i < len(base) {
					same(base[:i] + string([]byte{byte(b)}) + base[i+1:])
				}
			}
		}
	}
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-_~=////.. %;\\\x7f\x1f\xc3\xa9"
	random := rand.New(rand.NewPCG(3, 1)) //nolint:gosec // not a secret
	for range 100_000 {
		path := []byte{'/'}
		for range random.IntN(40) {
			path = append(path, alphabet[random.IntN(len(alphabet))])
		}
		same(string(path))
	}
	for n := range 40 { // up to more segments than pathSpace
		same(strings.Repeat("/s", n+1))
	}
	if plain < 10_000 {
		t.Errorf("only %d paths were plain", plain)
	}
}

func BenchmarkPath(b *testing.B) {
	for name, escaped := range map[string]string{
		"plain": "/section-123/2026/some-article-of-today", "escaped": "/section-123/2026/caf%C3%A9-of-today",
	} {
		b.Run(name, func(b *testing.B) {
			var path Path
			for b.Loop() {
				_ = path.Read(escaped, PathOptions{})
			}
		})
	}
}
