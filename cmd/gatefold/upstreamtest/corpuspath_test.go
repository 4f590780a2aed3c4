package upstreamtest

import (
	"fmt"
	"strings"
	"unicode"
)

// separators are bytes that some server takes for a slash, or skips around one.
var separators = []string{
	"/", "//", "///", "/./", "/%2e/", "/%2E/", "%2f", "%2F", "/%2f", "%2f/", "\\", "/\\", "%5c", "%5C", "/%5c/", "/;/", "/.;/", "/;x=1/",
	"/x/../", "/x/%2e%2e/", "/x/.%2e/", "/x/%2e./", "/x/..%2f", "/x/%2e%2e%2f", "/x/..;/", "/x/..;v=1/", "/x/..%3b/", "/x/..%5c", "/x/..\\",
	"%252f", "/x/%252e%252e/", "/x/..%252f", "/x/%252e%252e%252f", "%c0%af", "%e0%80%af", "%ef%bc%8f", "/x/%c0%ae%c0%ae/", "/%00/", "/x/..%00/",
	"/%20/", "/%09/", "/x/..%20/", "%e2%88%95", "%e2%81%84", "/%0d/", "/%0a/", "/\t/", "/%e2%80%8b/", "/.%00/", "/...//", "/%25/", "/?/", "/%3f/", "%23/",
}

// leads are put before a path: what a server, a framework or a proxy takes off.
var leads = []string{
	"/index.php", "/INDEX.PHP", "/index.php/", "/index.php/index.php", "/index.php%2f", "/index.php;x=1", "/index%2ephp", "/inde%78.php", "/index.php/x/..", "/x.php", "/x/index.php", "/index.php5",
	"/index.phtml", "/app.php", "/index.html", "/index.jsp", "/cgi-bin/index.php", "/index.php.", "/index.php%20", "/index.php%00", "/index.pl", "/app.fcgi",
	"/localhost", "//localhost", "//news.example.com", "///localhost", "//localhost:80", "//user@localhost", "/\\localhost", "//[::1]", "//", "/http://localhost", "/http:/localhost", "/http%3a//localhost",
	"/x/..", "/static/..", "/static/%2e%2e", "/static/..;", "/static/..;x", "/static/;/..", "/assets/..", "/assets..", "/assets%2f..", "/assets/..%2f", "/assets/%2e%2e%2f",
	"/static/../static/..", "/a/b/../..", "/a/b/%2e%2e/..", "/a/b/..;/..;", "/;a=1", "/;", "/.;", "/.", "/./.", "/%2e", "/..", "/../..", "/%2e%2e", "/~root/..",
	"/%3b", "/ ", "/%20", "/%09", "/%00", "/%0a", "/%0d%0a", "/\x01", "/\x7f", "/\xff", "/%ff", "/%7f", "/:", "/@", "/!", "/$", "/*", "/-", "/_", "/,", "/(A(x))", "/(S(x))",
	"/en", "/public", "/web", "/WEB-INF", "/META-INF", "/static", "/assets", "/.well-known", "/%u002e%u002e", "/%c0%ae%c0%ae", "/%e0%40%ae", "/%252e%252e", "/%25%32%65%25%32%65",
}

// ends are put behind a path: what a server cuts off, ignores, or maps to a file.
var ends = []string{
	"", "/", "//", "/.", "/./", "/..", "/../", "/%2e", "/%2e%2e", "/x/..", "/x/../", "/x/%2e%2e", "/..;/", "/;", "/;x=1", ";", ";x", ";x=1", ";jsessionid=1", ";.css", ";/x", ";%2f..", "%3b", "%3bx=1", ";a=1;b=2",
	".", "..", "...", "%2e", "%20", "%20%20", " ", "+", "%09", "%0a", "%0d", "%0d%0a", "%00", "%00.css", "%00/x", "%0a.css", "\t", "\x01", "\x7f", "%7f", "\xa0", "%a0", "%c2%a0", "%e2%80%8b", "%ef%bb%bf", "%ff", "\xff",
	".html", ".HTML", ".htm", ".html/", ".html/x", ".json", ".xml", ".rss", ".css", ".js", ".php", ".php/x", ".jsp", ".html.", ".html%20", ".html;x", ".html%00", ".html.gz", ".en", ".html.en", ".var", ".bak", "~", ".orig",
	"/x.css", "/x.js", "/index.html", "/index.php", "/index.htm", "/index.jsp", "/index.html/", "/INDEX.html", "/style.css", "/..%2fstyle.css", "/index.php/x", "/x.php", "/x.php/y", ".php/hello", "/feed", "/amp", "/embed", "/print", "/comments",
	"%2f", "%2F", "%2f%2f", "%2f..", "%2fx.css", "%5c", "%5c..", "\\", "\\..", "%252f", "%c0%af", "%3f", "%3fx=1", "%3F.css", "%23", "%23x", "#", "#x", "#/../", "?", "??", "?x", "?x=1", "?/../../", "?.css", "?;", "?%00", "?\xff", "?x=/public", "? ", "?#",
	"%", "%2", "%zz", "%%", "%u0000", "%u002e", "%25", "%2525", "%26", "&", "&x=1", "%3d", "=", ":", "::$DATA", "::$INDEX_ALLOCATION", ":80", "@", "@x", "!", "$", "'", "\"", "<", ">", "|", "^", "`", "{", "}", "{x}", "*", ",", "(x)", "[", "]", "[]",
	"/../account", "/../hello", "/..;/hello", "/%2e%2e/hello", "/..%2fhello", "/.%00/", "/\\..\\hello", "/..%5chello", "/x/../../articles/hello", "/../articles/hello", "/..;/articles/hello",
}

// spellings are ways to write a word: some that a server reads as the same word, and
// some that none should.
func spellings(word string) []string {
	all := []string{word, strings.ToUpper(word), strings.ToUpper(word[:1]) + word[1:], word[:len(word)-1] + strings.ToUpper(word[len(word)-1:])}
	var lower, upper, double, doubled, wide, percentU, mixed strings.Builder
	for i, r := range word {
		before, after := word[:i], word[i+1:]
		all = append(all,
			before+fmt.Sprintf("%%%02x", r)+after, before+fmt.Sprintf("%%%02X", r)+after, before+fmt.Sprintf("%%25%02x", r)+after, before+fmt.Sprintf("%%%02x", unicode.ToUpper(r))+after,
			before+string(unicode.ToUpper(r))+after, before+fmt.Sprintf("%%u%04x", r)+after, before+percent(string(r-'a'+'ａ'))+after,
			before+fmt.Sprintf("%%c%x%%%02x", 0x0+r>>6, 0x80|r&0x3f)+after, before+fmt.Sprintf("%%e0%%%02x%%%02x", 0x80|r>>6, 0x80|r&0x3f)+after,
			before+string(r)+"%cc%81"+after, before+string(r)+"%e2%80%8b"+after, before+string(r)+"%00"+after, before+string(r)+"%c2%ad"+after, before+string(r|0x80)+after)
		if like, ok := lookalikes[r]; ok {
			for _, other := range like {
				all = append(all, before+string(other)+after, before+percent(string(other))+after)
			}
		}
		fmt.Fprintf(&lower, "%%%02x", r)
		fmt.Fprintf(&upper, "%%%02X", r)
		fmt.Fprintf(&double, "%%25%02x", r)
		fmt.Fprintf(&doubled, "%%25%%3%c%%3%c", fmt.Sprintf("%02x", r)[0], fmt.Sprintf("%02x", r)[1])
		fmt.Fprintf(&wide, "%s", percent(string(r-'a'+'Ａ')))
		fmt.Fprintf(&percentU, "%%u%04X", r)
		if i%2 == 0 {
			mixed.WriteRune(unicode.ToUpper(r))
		} else {
			fmt.Fprintf(&mixed, "%%%02x", r)
		}
	}
	all = append(all, lower.String(), upper.String(), double.String(), doubled.String(), wide.String(), percentU.String(), mixed.String())
	for _, end := range []string{".", "%2e", "%20", " ", "%00", "%09", "%0a", ";", ";v=1", "%3bv=1", "~", "%25", "\\", "%5c", "%7f", "::$DATA", "%e2%80%8b", "\xff", ":", "'"} {
		all = append(all, word+end, end+word)
	}
	return all
}

// lookalikes are characters that Unicode's case folding, normalization or best fit
// turns into a letter.
var lookalikes = map[rune]string{
	'a': "ªàáâäåаAÅ", 'c': "çсϲ", 'e': "éèеℯ", 'h': "ℎһ", 'i': "ıİіⅰ", 'k': "K", 'l': "ℓⅼł", 'n': "ñⁿ", 'o': "ºöοоø", 'r': "ⓡ", 's': "ſşѕ", 't': "ţτ", 'u': "üμυ",
}

// percent writes every byte as an escape.
func percent(text string) string {
	var all strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&all, "%%%02x", text[i])
	}
	return all.String()
}

// paths are spellings of the protected pages, by kind.
func paths(add func(kind, path string)) {
	pages := []string{"/articles/hello", "/account"}
	for _, page := range pages {
		for _, end := range ends {
			add("end", page+end)
		}
		for _, lead := range leads {
			add("lead", lead+page)
		}
		add("lead", strings.TrimPrefix(page, "/"))
		for _, lead := range []string{"/index.php", "//localhost", "/static/..;", "/x/..", "/.", ""} {
			for _, name := range []string{strings.ToUpper(page), strings.Replace(page, "a", "%61", 1), strings.Replace(page, "a", "%2561", 1)} {
				for _, end := range []string{"", "/", ".html", ";x=1", "/index.html", "%00", "%20", "/x/.."} {
					add("combined", lead+name+end)
				}
			}
		}
	}
	for _, separator := range separators {
		lead := ""
		if !strings.HasPrefix(separator, "/") {
			lead = "/"
		}
		for _, name := range []string{"articles", "Articles", "art%69cles", "articles;x=1"} {
			add("separator", lead+separator+name+"/hello")
			add("separator", "/"+name+separator+"hello")
			add("separator", "/static"+separator+name+"/hello")
		}
		for _, name := range []string{"articles", "ARTICLES"} {
			add("separator", "/"+name+"/hello"+separator+"other")
			add("separator", "/"+name+"/other"+separator+"hello")
			add("separator", "/"+name+"/other/x"+separator+"../hello")
		}
		for _, name := range []string{"account", "ACCOUNT", "acc%6funt"} {
			add("separator", lead+separator+name)
			add("separator", "/"+name+separator+"x")
		}
	}
	for _, name := range spellings("articles") {
		add("word", "/"+name+"/hello")
	}
	for _, name := range spellings("hello") {
		add("word", "/articles/"+name)
	}
	for _, name := range spellings("account") {
		add("word", "/"+name)
	}
	for _, filler := range []string{"/.", "/x/..", "/x/%2e%2e", "/;", "/", "/x"} {
		for _, times := range []int{8, 100, 250, 257, 1000} {
			add("long", strings.Repeat(filler, times)+"/articles/hello")
			add("long", "/articles/hello"+strings.Repeat(filler, times))
		}
	}
	add("long", "/articles/hello?"+strings.Repeat("x=1&", 4000))
	add("long", "/articles/"+strings.Repeat("%68", 3)+"llo"+strings.Repeat("%20", 2000))
}
