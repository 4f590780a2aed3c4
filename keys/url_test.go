package keys

import "testing"

func TestAppendToken(t *testing.T) {
	for rawURL, want := range map[string]string{
		"https://news.example/a":                  "https://news.example/a?token=T",
		"https://news.example":                    "https://news.example?token=T",
		"https://news.example/a?x=1":              "https://news.example/a?x=1&token=T",
		"https://news.example/a?x=1&":             "https://news.example/a?x=1&token=T",
		"https://news.example/a?":                 "https://news.example/a?token=T",
		"https://news.example/a??":                "https://news.example/a??token=T",
		"https://news.example/a?x=y?z":            "https://news.example/a?x=y?z&token=T",
		"https://news.example/a#part":             "https://news.example/a?token=T#part",
		"https://news.example/a#":                 "https://news.example/a?token=T#",
		"https://news.example/a?x=1#part":         "https://news.example/a?x=1&token=T#part",
		"https://news.example/a?#part":            "https://news.example/a?token=T#part",
		"https://news.example/a#part?x=1":         "https://news.example/a?token=T#part?x=1",
		"https://news.example/a#one#two":          "https://news.example/a?token=T#one#two",
		"https://news.example/a#/route?x&y":       "https://news.example/a?token=T#/route?x&y",
		"HTTPS://News.Example:443/%7ea/b%2Fc?q=+": "HTTPS://News.Example:443/%7ea/b%2Fc?q=+&token=T",
		"https://news.example/ü?b=2&a=1&b=%zz":    "https://news.example/%C3%BC?b=2&a=1&b=%zz&token=T",
		"https://news.example/a b?q=a b+c%20#x y": "https://news.example/a%20b?q=a%20b+c%20&token=T#x%20y",
		"https://zürich.example:8443/für/%c3%bc":  "https://xn--zrich-kva.example:8443/f%C3%BCr/%c3%bc?token=T",
		"https://zürich.example?ü":                "https://xn--zrich-kva.example?%C3%BC&token=T",
		"https://news.example/\u00a0\u3000~":      "https://news.example/%C2%A0%E3%80%80~?token=T",
		"https://news.example/a?token=other":      "https://news.example/a?token=other&token=T",
		"":                                        "?token=T",
	} {
		if got := AppendToken(rawURL, "token", "T"); got != want {
			t.Errorf("%q: got %q, want %q", rawURL, got, want)
		}
	}
	for rawURL, want := range map[string]string{
		"https://news.example/a/b.m3u8?q=1#t": "https://news.example/.gatefold/l/T/a/b.m3u8?q=1#t",
		"https://news.example":                "https://news.example/.gatefold/l/T/",
		"https://news.example?a":              "https://news.example/.gatefold/l/T/?a",
		"https://zürich.example:8443/ü":       "https://xn--zrich-kva.example:8443/.gatefold/l/T/%C3%BC",
		"news.example/a":                      "",
	} {
		if got := InsertToken(rawURL, "T"); got != want {
			t.Errorf("%q: got %q, want %q", rawURL, got, want)
		}
	}
	if got := AppendToken("https://news.example/?a", "share", "T"); got != "https://news.example/?a&share=T" {
		t.Errorf("got %q", got)
	}
}
