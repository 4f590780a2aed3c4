package teaser

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cardOf returns the card of a page.
func cardOf(t *testing.T, status int, contentType, document string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	head := NewHead(cancel)
	head.Header().Set("Content-Type", contentType)
	head.WriteHeader(status)
	for rest := document; rest != "" && ctx.Err() == nil; {
		n := min(len(rest), 1000)
		_, _ = head.Write([]byte(rest[:n]))
		rest = rest[n:]
	}
	page, err := url.Parse("https://news.example/articles/hello")
	require.NoError(t, err)
	card, ok := head.Card(page)
	var b bytes.Buffer
	require.NoError(t, card.Write(&b))
	return b.String(), ok
}

// A card has what the head of a page declares for previews, and nothing of its body or of a
// gated region, and no address that a service would open in place of the link.
func TestCard(t *testing.T) {
	const page = `<!DOCTYPE html><html><head><meta charset="iso-8859-1"><title>Plain title</title><link rel="canonical" href="https://news.example/CANONICAL">
<meta property="og:title" content="A &quot;title&quot; &lt;b&gt; for friends"><meta property="og:title" content="SECOND"><meta property="og:url" content="https://news.example/CANONICAL">
<meta name="description" content="What it is about, ` + "\xe5" + `"><meta property="og:image" content="/img/a.jpg?w=1&amp;h=2"><meta name="twitter:card" content="summary_large_image">
<script>var x = '<meta property="og:site_name" content="SCRIPT">'</script></head><body><meta property="og:site_name" content="BODY"><p>SECRET</p></body></html>`
	card, ok := cardOf(t, 200, "text/html", page)
	require.True(t, ok)
	for _, text := range []string{
		`<title>A &#34;title&#34; &lt;b&gt; for friends</title>`, `<meta property="og:image" content="https://news.example/img/a.jpg?w=1&amp;h=2">`,
		`<meta property="og:description" content="What it is about, å">`, `<meta name="twitter:card" content="summary_large_image">`,
	} {
		assert.Contains(t, card, text)
	}
	for _, text := range []string{"CANONICAL", "SECOND", "SECRET", "SCRIPT", "BODY"} {
		assert.NotContains(t, card, text)
	}

	for name, document := range map[string]string{
		"region in the head": `<title>t</title><!-- gatefold:premium --><meta property="og:description" content="SECRET"><!-- /gatefold:premium -->`,
		"misspelt region":    `<title>t</title><!-- gatefold:premum --><meta property="og:description" content="SECRET">`,
		"after the head":     `<title>t</title></head><meta property="og:description" content="SECRET">`,
		"in a template":      `<title>t</title><template><meta property="og:description" content="SECRET">`,
		"behind a paragraph": `<title>t</title><p><meta property="og:description" content="SECRET">`,
		"script as image":    `<title>t</title><meta property="og:image" content="javascript:SECRET">`,
		"data as image":      `<title>t</title><meta property="og:image" content="data:text/html,SECRET">`,
		"long image":         `<title>t</title><meta property="og:image" content="https://a.example/SECRET` + strings.Repeat("x", 3000) + `">`,
		"late":               `<title>t</title><style>` + strings.Repeat("x", 300<<10) + `</style><meta property="og:description" content="SECRET">`,
		"the whole article":  `<title>t</title><meta property="og:description" content="` + strings.Repeat("lead ", 100) + `SECRET">`,
	} {
		card, ok := cardOf(t, 200, "text/html; charset=utf-8", document)
		assert.True(t, ok, name)
		assert.NotContains(t, card, "SECRET", name)
		assert.Less(t, len(card), 5000, name)
	}
	for name, answer := range map[string]struct {
		status         int
		kind, document string
	}{
		"no title": {200, "text/html", "<p>SECRET"}, "not found": {404, "text/html", "<title>t</title>"}, "JSON": {200, "application/json", "<title>t</title>"}, "empty": {200, "text/html", ""},
		"part": {206, "text/html", "<title>t</title>"}, "redirect": {http.StatusFound, "text/html", "<title>t</title>"},
	} {
		_, ok := cardOf(t, answer.status, answer.kind, answer.document)
		assert.False(t, ok, name)
	}
}
