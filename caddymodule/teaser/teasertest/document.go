package teasertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// fragments are what documents are Document of: what tokenizers and parsers disagree about.
// SECRET and MARK are replaced, so that each is found again.
var fragments = []string{
	"SECRET", "SECRET", "SECRET", "SECRET", "<p>SECRET</p>", "<b>SECRET</b>", "SECRET<br>", "a < b SECRET", "&lt;!-- x --&gt;", "&#60;", "\x00", "\xff\xfe", "\r\n",
	"MARK", "MARK", "ENDMARK", "ENDMARK", "ENDMARK",
	"<div>", "</div>", "<div/>", "<div class=paywall>", "<div class='a paywall'>", "<section class=paywall>", "</section>", "<section>",
	"<span class=paywall>", "<span>", "</span>", "<p class=paywall>", "<li class=paywall>", "<main>", "</main>", "<article class=\"pay&#119;all\">", "</article>",
	"<table>", "</table>", "<tr>", "<td>", "</td>", "<th>", "</tr>", "<tbody>", "<caption>", "</caption>", "<col>", "<colgroup>",
	"<object>", "</object>", "<marquee>", "</marquee>", "<applet>", "</applet>", "<template>", "</template>", "<button>", "</button>",
	"<select>", "</select>", "<option>", "<optgroup>", "</option>", "<input>", "<textarea>", "</textarea>", "<form>", "</form>",
	"<svg>", "</svg>", "<svg/>", "<path/>", "<g>", "</g>", "<title>", "</title>", "<desc>", "</desc>", "<foreignObject>", "</foreignObject>",
	"<math>", "</math>", "<mi>", "</mi>", "<mtext>", "<annotation-xml encoding=text/html>", "</annotation-xml>", "<style>", "</style>", "<style/>", "<script>", "</script>",
	"<script/>", "<script><!--<script>", "<!--", "-->", "--!>", "<!-->", "<!--->", "<![CDATA[", "]]>", "<!x>", "<?x>", "</ x>", "<!DOCTYPE html>",
	"<noscript>", "</noscript>", "<iframe>", "</iframe>", "<xmp>", "</xmp>", "<noembed>", "</noembed>", "<noframes>", "</noframes>",
	"<p>", "</p>", "</br>", "<li>", "<ul>", "</ul>", "<dl><dd>", "<h1>", "</h1>", "<a href=x>", "</a>", "<b>", "</b>", "<i>", "</i>", "<em>", "<nobr>",
	"<img src=x>", "<hr>", "<br/>", "<body>", "</body>", "</html>", "<head>", "</head>", "<x-y>", "</x-y>", "<a b='", "'", "\"", ">", "<", "</", "<i title=\"", "<img title=\"SECRET\">",
	"<script>var a='SECRET'</script>", "<style>.a>b{}</style>", "<script>if(a<b){}</script>", "<noscript><img></noscript>", "<!-- SECRET -->",
}

// rare are fragments that end most documents for one of the two sides.
var rare = []string{"<plaintext>", "<frameset>"}

const (
	markText    = "<!-- gatefold:premium -->"
	endMarkText = "<!-- /gatefold:premium -->"
)

// Document is a document with the places of its secrets and markers.
type Document struct {
	// Text is the document.
	Text    string
	secrets map[string]int // by secret, its place
	// marks are the places of the markers, in order; ends says which of them end a region.
	marks []int
	ends  []bool
}

// Make returns a random document.
func Make(r *rand.Rand) Document {
	m := Document{secrets: map[string]int{}}
	var b strings.Builder
	// Few kinds of fragments a document: all of them at once rarely get past the first script.
	kinds := 2 + r.IntN(16)
	chosen := append(make([]string, 0, 5+kinds), "SECRET", "SECRET", "MARK", "ENDMARK", "ENDMARK")
	for range kinds {
		chosen = append(chosen, fragments[r.IntN(len(fragments))])
	}
	for range 4 + r.IntN(32) {
		fragment := chosen[r.IntN(len(chosen))]
		if r.IntN(200) == 0 {
			fragment = rare[r.IntN(len(rare))]
		}
		if r.IntN(16) == 0 && len(fragment) > 1 {
			fragment = mutated(r, fragment)
		}
		switch fragment {
		case "MARK", "ENDMARK":
			m.marks = append(m.marks, b.Len())
			m.ends = append(m.ends, fragment == "ENDMARK")
			text := markText
			if fragment == "ENDMARK" {
				text = endMarkText
			}
			b.WriteString(text)
		default:
			before, after, secret := strings.Cut(fragment, "SECRET")
			b.WriteString(before)
			if secret {
				name := fmt.Sprintf("SECRET%dX", len(m.secrets))
				m.secrets[name] = b.Len()
				b.WriteString(name + after)
			}
		}
	}
	m.Text = b.String()
	return m
}

// mutated changes a fragment by a few bytes, but neither a secret nor a marker.
func mutated(r *rand.Rand, fragment string) string {
	if strings.Contains(fragment, "SECRET") || strings.Contains(fragment, "MARK") {
		return fragment
	}
	b := []byte(fragment)
	at := r.IntN(len(b))
	switch r.IntN(3) {
	case 0:
		return string(slices.Delete(b, at, at+1))
	case 1:
		return string(slices.Insert(b, at, " /<>-!'\"\x00="[r.IntN(10)]))
	}
	return strings.ToUpper(fragment)
}
