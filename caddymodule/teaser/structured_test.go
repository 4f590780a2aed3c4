package teaser

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The wall's structured data are written once, at the end of the body, and not at all into a
// page that has its own. What stood in the gated part does not count: it was removed.
func TestStructuredData(t *testing.T) {
	const own = `<script type="application/ld+json">{"isAccessibleForFree":false}</script>`
	const region = `<!-- gatefold:premium -->S<!-- /gatefold:premium -->`
	for name, c := range map[string]struct{ document, sent string }{
		"end of the body":     {"<body>a" + region + "b</body></html>", "<body>a[wall]b[data]</body></html>"},
		"no end tag":          {"a" + region + "b", "a[wall]b[data]"},
		"unterminated":        {"a<!-- gatefold:premium -->S</body>", "a[wall][data]"},
		"two ends":            {"a" + region + "b</body></body>", "a[wall]b[data]</body></body>"},
		"own before":          {own + "a" + region + "b</body>", own + "a[wall]b</body>"},
		"own behind":          {"a" + region + own + "b</body>", "a[wall]" + own + "b</body>"},
		"microdata":           {`<meta itemprop="isAccessibleForFree" content="False">a` + region + "</body>", `<meta itemprop="isAccessibleForFree" content="False">a[wall]</body>`},
		"own in the region":   {"a<!-- gatefold:premium -->" + own + "<!-- /gatefold:premium -->b</body>", "a[wall]b[data]</body>"},
		"nothing is gated":    {"a</body>", ""},
		"ambiguous behind it": {"a" + region + "<!-- gatefold:premum -->S</body>", "a[wall]"},
	} {
		for _, piece := range pieces {
			var out bytes.Buffer
			cutter := NewCutter(&out, Region{}, Wall{StructuredData: "[data]", Section: func(w io.Writer) error {
				_, err := io.WriteString(w, wallText)
				return err
			}})
			for at := 0; at < len(c.document); at += piece {
				_, err := cutter.Write([]byte(c.document[at:min(at+piece, len(c.document))]))
				require.NoError(t, err)
			}
			_, err := cutter.Close(false)
			require.NoError(t, err)
			assert.Equal(t, c.sent, out.String(), "%s in pieces of %d", name, piece)
		}
	}
}
