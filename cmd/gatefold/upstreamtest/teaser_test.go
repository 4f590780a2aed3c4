package upstreamtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/gatefold/gatefold/caddymodule/teaser"
	"github.com/gatefold/gatefold/caddymodule/teaser/teasertest"
)

// readDocuments is a script that reads documents as a page does: with scripts, in a frame,
// and without, by a parser. Of each it returns the comments and the content of gated
// elements.
const readDocuments = `(documents => {
	const reopened = new Set(%s);
	const read = root => {
		const comments = [], inside = [];
		const walk = (node, within) => {
			if (node.nodeType === 8) comments.push(node.data);
			if (within && node.data !== undefined) inside.push(node.data);
			if (node.nodeType === 1) {
				if (within && !reopened.has(node.localName)) for (const a of node.attributes) inside.push(a.value);
				within = within || node.classList.contains("paywall");
			}
			for (const child of node.childNodes) walk(child, within);
			if (node.content instanceof DocumentFragment || node.content?.nodeType === 11) walk(node.content, within);
		};
		walk(root, false);
		return {comments, inside: inside.join("\n")};
	};
	const framed = text => {
		const frame = document.body.appendChild(document.createElement("iframe"));
		try {
			frame.contentDocument.open();
			frame.contentDocument.write(text);
			frame.contentDocument.close();
			return read(frame.contentDocument);
		} finally { frame.remove(); }
	};
	return JSON.stringify(documents.map(([text, named]) => ({
		off: {comments: read(new DOMParser().parseFromString(named, "text/html")).comments, inside: read(new DOMParser().parseFromString(text, "text/html")).inside},
		on: {comments: framed(named).comments, inside: framed(text).inside},
	})));
})(%s)`

type readDocument struct {
	Comments []string
	Inside   string
}

// No byte that is gated for a browser leaves in a teaser. The browser is the judge of where
// a region ends, with scripts and without.
func TestTeasersAsABrowserReadsThem(t *testing.T) {
	const total, batch = 2000, 100
	b := startBrowser(t)
	b.do("opening an empty page", chromedp.Navigate("about:blank"))
	region, err := teaser.ParseRegion(".paywall")
	if err != nil {
		t.Fatal(err)
	}
	reopened, _ := json.Marshal(teasertest.Reopened)
	r := rand.New(rand.NewPCG(9, 9))
	cuts, differing := 0, 0
	for range total / batch {
		documents := make([]teasertest.Document, batch)
		texts := make([][2]string, batch)
		for i := range documents {
			documents[i] = teasertest.Make(r)
			texts[i] = [2]string{strings.ToValidUTF8(documents[i].Text, "\ufffd"), strings.ToValidUTF8(documents[i].Named(), "\ufffd")}
		}
		encoded, err := json.Marshal(texts)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := chromedp.Run(b.tab, chromedp.Evaluate[string](fmt.Sprintf(readDocuments, reopened, encoded)))
		if err != nil {
			t.Fatal(err)
		}
		var read []struct{ Off, On readDocument }
		if err := json.Unmarshal([]byte(answer), &read); err != nil {
			t.Fatal(err)
		}
		for i, d := range documents {
			byComments, result := cutDocument(t, d.Text, teaser.Region{})
			byElements, _ := cutDocument(t, d.Text, region)
			if result.Cut {
				cuts++
			}
			if len(read[i].On.Comments) != len(read[i].Off.Comments) {
				differing++
			}
			for _, scripting := range []bool{true, false} {
				seen := read[i].Off
				if scripting {
					seen = read[i].On
				}
				if err := d.CheckComments(byComments, result.Cut, result.Reason == teaser.Complete, seen.Comments, scripting); err != nil {
					t.Errorf("%v: %q, scripts %v", err, d.Text, scripting)
				}
				if err := d.CheckElements(byElements, seen.Inside); err != nil {
					t.Errorf("%v: %q, scripts %v", err, d.Text, scripting)
				}
			}
		}
	}
	if cuts < total/20 || differing == 0 {
		t.Errorf("of %d documents %d were cut, and %d are read otherwise with scripts", total, cuts, differing)
	}
}

func cutDocument(t *testing.T, document string, region teaser.Region) (string, teaser.Result) {
	t.Helper()
	var out bytes.Buffer
	c := teaser.NewCutter(&out, region, teaser.Wall{Section: func(w io.Writer) error {
		_, err := io.WriteString(w, teasertest.Wall)
		return err
	}})
	if _, err := c.Write([]byte(document)); err != nil {
		t.Fatal(err)
	}
	result, err := c.Close(false)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), result
}
