package teaser_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/gatefold/gatefold/caddymodule/teaser"
	"github.com/gatefold/gatefold/caddymodule/teaser/teasertest"
)

var (
	documents = flag.Int("teaser.documents", 100_000, "how many documents are made")
	seed      = flag.Uint64("teaser.seed", 21, "of the documents")
)

// parsed returns the comments of a document, and the texts, comments and attributes of all
// elements of the class, as a parser sees them.
func parsed(document string, scripting bool) (comments []string, elements string) {
	root, err := html.ParseWithOptions(strings.NewReader(document), html.ParseOptionEnableScripting(scripting))
	if err != nil {
		return nil, ""
	}
	var inside strings.Builder
	var walk func(n *html.Node, within bool)
	walk = func(n *html.Node, within bool) {
		if n.Type == html.CommentNode {
			comments = append(comments, n.Data)
		}
		if within {
			inside.WriteString(n.Data + "\n")
			for _, a := range n.Attr {
				if !slices.Contains(teasertest.Reopened, n.Data) {
					inside.WriteString(a.Val + "\n")
				}
			}
		}
		if n.Type == html.ElementNode && slices.ContainsFunc(n.Attr, func(a html.Attribute) bool {
			return a.Key == "class" && slices.Contains(strings.Fields(a.Val), "paywall")
		}) {
			within = true
		}
		for child := n.FirstChild; child != nil; child = child.NextSibling {
			walk(child, within)
		}
	}
	walk(root, false)
	return comments, inside.String()
}

// sent returns what is sent of a document in pieces of random sizes.
func sent(t *testing.T, r *rand.Rand, document string, region teaser.Region) (string, teaser.Result) {
	var out bytes.Buffer
	c := teaser.NewCutter(&out, region, teaser.Wall{Section: func(w io.Writer) error {
		_, err := io.WriteString(w, teasertest.Wall)
		return err
	}})
	for rest := document; rest != ""; {
		n := 1 + r.IntN(len(rest))
		_, err := c.Write([]byte(rest[:n]))
		require.NoError(t, err)
		rest = rest[n:]
	}
	result, err := c.Close(false)
	require.NoError(t, err)
	return out.String(), result
}

// No byte of a region is ever sent, and what is outside of it is unchanged, whatever the
// document is and however it arrives. A parser that builds the tree says what a region is:
// with scripts and without.
func TestNothingGatedIsSent(t *testing.T) {
	region, err := teaser.ParseRegion(".paywall")
	require.NoError(t, err)
	const lanes = 4
	for lane := range lanes {
		t.Run(fmt.Sprintf("lane %d", lane), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(*seed, uint64(lane)))
			cuts, complete := 0, 0
			for range *documents / lanes {
				m := teasertest.Make(r)
				sentComments, result := sent(t, r, m.Text, teaser.Region{})
				sentElements, resultElements := sent(t, r, m.Text, region)
				if !result.Cut {
					require.Empty(t, sentComments, m.Text)
				} else {
					cuts++
				}
				if result.Cut && result.Reason == teaser.Complete {
					complete++
				}
				for _, scripting := range []bool{true, false} {
					comments, _ := parsed(m.Named(), scripting)
					require.NoError(t, m.CheckComments(sentComments, result.Cut, result.Reason == teaser.Complete, comments, scripting), "%q, scripting %v", m.Text, scripting)
					if _, elements := parsed(m.Text, scripting); resultElements.Cut {
						require.NoError(t, m.CheckElements(sentElements, elements), "%q, scripting %v", m.Text, scripting)
					}
				}
			}
			// The property means nothing if nearly all documents are refused.
			require.Greater(t, cuts, *documents/lanes/20)
			require.Greater(t, complete, *documents/lanes/100)
		})
	}
}
