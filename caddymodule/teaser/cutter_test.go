package teaser

import (
	"bytes"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const wallText = "[wall]"

// cut returns what is sent of a document that arrives in pieces of so many bytes.
func cut(t testing.TB, document string, region Region, piece int) (string, Result) {
	t.Helper()
	var out bytes.Buffer
	c := NewCutter(&out, region, Wall{Section: func(w io.Writer) error {
		_, err := io.WriteString(w, wallText)
		return err
	}})
	for at := 0; at < len(document); at += piece {
		_, err := c.Write([]byte(document[at:min(at+piece, len(document))]))
		require.NoError(t, err)
	}
	result, err := c.Close(false)
	require.NoError(t, err)
	return out.String(), result
}

// pieces are the sizes in which documents of the tables arrive.
var pieces = []int{1, 2, 7, 1 << 20}

func TestRegionsBetweenComments(t *testing.T) {
	for name, c := range map[string]struct {
		document, sent string
		reason         Reason
	}{
		"one":                  {`<p>a</p><!-- gatefold:premium --><p>S</p><!-- /gatefold:premium --><p>b</p>`, `<p>a</p>[wall]<p>b</p>`, Complete},
		"two":                  {`a<!--gatefold:premium-->S<!--/gatefold:premium-->b<!--gatefold:premium-->S<!--/gatefold:premium-->c`, `a[wall]bc`, Complete},
		"any case":             {`a<!-- Gatefold:PREMIUM -->S<!-- /gatefold:premium  -->b`, `a[wall]b`, Complete},
		"nested":               {`a<!-- gatefold:premium -->S<!-- gatefold:premium -->S<!-- /gatefold:premium -->S<!-- /gatefold:premium -->b`, `a[wall]b`, Complete},
		"no end":               {`a<!-- gatefold:premium -->S</body></html>`, `a[wall]`, Unterminated},
		"misspelt end":         {`a<!-- gatefold:premium -->S<!-- /gatefold:premum -->S`, `a[wall]`, Unterminated},
		"misspelt start":       {`a<!-- gatefold:premum -->S<!-- /gatefold:premium -->`, ``, Ambiguous},
		"end alone":            {`a<!-- /gatefold:premium -->S`, ``, Ambiguous},
		"none":                 {`<p>a</p>`, ``, NoRegion},
		"empty":                {``, ``, NoRegion},
		"within a comment":     {`a<!-- <!-- gatefold:premium --> S`, ``, Ambiguous},
		"within a script":      {`a<script>"<!-- gatefold:premium -->"</script>S`, ``, Ambiguous},
		"within an attribute":  {`a<i title="<!-- gatefold:premium -->">S`, ``, Ambiguous},
		"a second time":        {`a<!-- gatefold:premium -->S<!-- /gatefold:premium -->b<script>{"html":"<!-- gatefold:premium -->S"}</script>`, `a[wall]b<script>`, Ambiguous},
		"within textarea":      {`<textarea><!-- gatefold:premium -->S</textarea>`, ``, Ambiguous},
		"bogus comment":        {`<!gatefold:premium>S`, ``, Ambiguous},
		"abrupt comments":      {`a<!--><!---><!-- gatefold:premium --!>S<!-- /gatefold:premium -->b`, `a<!--><!--->[wall]b`, Complete},
		"in noscript":          {`<noscript><!-- gatefold:premium -->S<!-- /gatefold:premium --></noscript>b`, `<noscript>[wall]</noscript>b`, Complete},
		"noscript in comment":  {`<noscript><!-- </noscript><!-- gatefold:premium -->S<!-- /gatefold:premium -->`, ``, Ambiguous},
		"noscript in title":    {`<noscript><title></noscript><!-- gatefold:premium -->S</title>`, ``, Ambiguous},
		"end in noscript":      {`a<!-- gatefold:premium -->S<noscript><!-- /gatefold:premium --></noscript>S`, `a[wall]`, Unterminated},
		"title of SVG":         {`<svg><title><!-- gatefold:premium -->S</title></svg>`, ``, Ambiguous},
		"title of SVG, tags":   {`<svg><title><b>x</b></title></svg><!-- gatefold:premium -->S`, ``, Ambiguous},
		"plain SVG":            {`<svg viewBox="0"><title>Logo</title><path d="M0"/><g><path/></g></svg><script>if(a<b){}</script><!-- gatefold:premium -->S`, `<svg viewBox="0"><title>Logo</title><path d="M0"/><g><path/></g></svg><script>if(a<b){}</script>[wall]`, Unterminated},
		"style of SVG, closed": {`<svg><style/></svg><!-- gatefold:premium -->S`, `<svg><style/></svg>[wall]`, Unterminated},
		"SVG left":             {`<svg><foreignObject><div></svg></div></foreignObject><title><!-- gatefold:premium -->S</title>`, ``, Ambiguous},
		"noscript in SVG":      {`<svg><noscript><!-- gatefold:premium -->S`, ``, Ambiguous},
		"block in MathML":      {`<math><g><div/><style/><!-- gatefold:premium -->S</style>`, ``, Ambiguous},
		"CDATA":                {`<svg><![CDATA[ > <!-- gatefold:premium --> ]]></svg>S`, ``, Ambiguous},
		"CDATA of HTML":        {`<![CDATA[ > <!-- gatefold:premium -->S<!-- /gatefold:premium -->b`, `<![CDATA[ > [wall]b`, Complete},
		"style in select":      {`<select><style><!-- gatefold:premium -->S</style></select>`, ``, Ambiguous},
		"frames":               {`<frameset><!-- gatefold:premium -->S`, ``, Ambiguous},
		"tag without its end":  {`a<!-- gatefold:premium -->S<!-- /gatefold:premium -->b<i title="`, `a[wall]b`, Complete},
		"text with <":          {`a < b<!-- gatefold:premium -->S<!-- /gatefold:premium -->c<`, `a < b[wall]c<`, Complete},
		"bytes unchanged":      {"\r\n\x00\xff<IMG SRC=a&amp;b \tALT='x'/><!-- gatefold:premium -->S<!-- /gatefold:premium --></ Div>\r", "\r\n\x00\xff<IMG SRC=a&amp;b \tALT='x'/>[wall]</ Div>\r", Complete},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range pieces {
				sent, result := cut(t, c.document, Region{}, piece)
				assert.Equal(t, c.sent, sent, "in pieces of %d", piece)
				assert.Equal(t, c.reason, result.Reason, "in pieces of %d", piece)
				assert.Equal(t, c.sent != "", result.Cut)
			}
		})
	}
}

func TestRegionsOfElements(t *testing.T) {
	for name, c := range map[string]struct {
		document, sent string
		reason         Reason
	}{
		"one":                    {`a<div class="x paywall">S<div>S</div>S</div>b`, `a[wall]b`, Complete},
		"entity in the class":    {`a<div class="pay&#119;all">S</div>b`, `a[wall]b`, Complete},
		"first class counts":     {`a<div class=y class=paywall>b</div><div class=paywall class=y>S</div>c`, `a<div class=y class=paywall>b</div>[wall]c`, Complete},
		"self-closing":           {`a<div class=paywall><div/>S</div>S</div>b`, `a[wall]b`, Complete},
		"table":                  {`a<div class=paywall><table><tr><td>S</div>S</td></table>S</div>b`, `a[wall]b`, Complete},
		"table without ends":     {`a<div class=paywall><table><tr><td>S<td>S<tr><th>S</table>S</div>b`, `a[wall]b`, Complete},
		"cell without a table":   {`a<div class=paywall><td><div></td></div>S</div>S`, `a[wall]`, Unterminated},
		"object":                 {`a<div class=paywall><object></div>S</object>S</div>b`, `a[wall]b`, Complete},
		"object left open":       {`a<div class=paywall><object></div>S</div>S`, `a[wall]`, Unterminated},
		"template":               {`a<div class=paywall><template></div>S</template>S</div>b`, `a[wall]b`, Complete},
		"select":                 {`a<div class=paywall><select><option></div>S</select>S</div>b`, `a[wall]b`, Complete},
		"button":                 {`a<div class=paywall><button>S</div>b`, `a[wall]b`, Complete},
		"SVG":                    {`a<div class=paywall><svg><title>S</title><g><path/></g></svg>S</div>b`, `a[wall]b`, Complete},
		"title of SVG":           {`a<div class=paywall><svg><title></div>S</title></svg>S</div>b`, `a[wall]`, Unterminated},
		"foreign object":         {`a<div class=paywall><svg><foreignObject></div>S</foreignObject></svg>S</div>b`, `a[wall]`, Unterminated},
		"desc of SVG":            {`a<div class=paywall><svg><desc></div>S</desc></svg>S</div>b`, `a[wall]`, Unterminated},
		"math":                   {`a<div class=paywall><math><mi></div>S</mi></math>S</div>b`, `a[wall]`, Unterminated},
		"noscript":               {`a<div class=paywall><noscript></div></noscript>S</div>S`, `a[wall]`, Unterminated},
		"image in noscript":      {`a<div class=paywall><noscript><img src=x></noscript>S</div>b`, `a[wall]b`, Complete},
		"end of the body":        {`a<div class=paywall>S</body></html>S</div>b`, `a[wall]b`, Complete},
		"paragraph":              {`a<p class=paywall>S<div>S</div>S</p>S`, `a[wall]`, Unterminated},
		"list item":              {`a<li class=paywall>S<li>S`, `a[wall]`, Unterminated},
		"within SVG":             {`a<svg><div class=paywall>S</div>S`, `a<svg>[wall]`, Unterminated},
		"end tag in a script":    {`a<div class=paywall><script>"</div>"</script>S</div>b`, `a[wall]b`, Complete},
		"end tag in a comment":   {`a<div class=paywall><!-- </div> -->S</div>b`, `a[wall]b`, Complete},
		"end tag in a textarea":  {`a<div class=paywall><textarea></div></textarea>S</div>b`, `a[wall]b`, Complete},
		"frames":                 {`a<div class=paywall><frameset></div>S`, `a[wall]`, Unterminated},
		"two":                    {`a<div class=paywall>S</div>b<main class=paywall>S</main>c`, `a[wall]bc`, Complete},
		"comments as well":       {`a<!-- gatefold:premium -->S<!-- /gatefold:premium -->b<div class=paywall>S</div>c`, `a[wall]bc`, Complete},
		"markers in the element": {`a<div class=paywall><!-- gatefold:premium -->S</div>S<!-- /gatefold:premium -->b`, `a[wall]b`, Complete},
		"element in markers":     {`a<!-- gatefold:premium --><div class=paywall>S<!-- /gatefold:premium -->S</div>b`, `a[wall]b`, Complete},
		"span":                   {`a<span class=paywall>S<b>S</b><span>S</span>S</span>b`, `a[wall]b`, Complete},
		"block in a span":        {`a<span class=paywall><div></span>S</div></span>S`, `a[wall]`, Unterminated},
		"other element":          {`a<section class=paywall>S</div></section>b`, `a[wall]b`, Complete},
	} {
		t.Run(name, func(t *testing.T) {
			region, err := ParseRegion(".paywall")
			require.NoError(t, err)
			for _, piece := range pieces {
				sent, result := cut(t, c.document, region, piece)
				assert.Equal(t, c.sent, sent, "in pieces of %d", piece)
				assert.Equal(t, c.reason, result.Reason, "in pieces of %d", piece)
			}
		})
	}
}

func TestSelectors(t *testing.T) {
	for selector, document := range map[string]string{
		".paywall":                   `<div class=paywall>`,
		"div.paywall":                `<DIV CLASS="a paywall">`,
		"[data-gatefold]":            `<div DATA-Gatefold>`,
		"[data-gatefold=premium]":    `<div data-gatefold='premium'>`,
		`main[data-x="a b"]`:         `<main data-x="a b">`,
		"section[hidden-by=gate.no]": `<section hidden-by=gate.no>`,
	} {
		region, err := ParseRegion(selector)
		require.NoError(t, err, selector)
		_, result := cut(t, document, region, 1)
		assert.True(t, result.Cut, selector)
		for _, other := range []string{`<div>`, `<i class=Paywall>`, `<div class=paywall2>`, `<p data-gatefol>`, `</div class=paywall>`, `<aside>`} {
			_, result = cut(t, other, region, 1)
			assert.False(t, result.Cut, "%s: %s", selector, other)
		}
	}
	for _, selector := range []string{"", "paywall", "p.paywall", "a[x]", "li.x", "td.x", ".", ".a.b", ".a b", "[", "[]", "[=a]", "[a", "[a b]", "#id", "div", "*.x", ".a:hover"} {
		_, err := ParseRegion(selector)
		assert.ErrorIs(t, err, ErrRegion, selector)
	}
}

// A page that is too large to be held, or a token that is, must not pass uncut.
func TestBoundsOfADocument(t *testing.T) {
	long := strings.Repeat("x", maxToken+1)
	many := strings.Repeat("<p>x</p>", maxHeld/8)
	for name, c := range map[string]struct {
		document string
		sent     string
		reason   Reason
	}{
		"late":              {many + `x<!-- gatefold:premium -->S`, "", NotEarly},
		"long script first": {`<script>` + long + `</script><!-- gatefold:premium -->S`, "", TokenTooLong},
		"long script after": {`a<!-- gatefold:premium -->S<!-- /gatefold:premium -->b<script>` + long + `</script>S`, `a[wall]b<script>`, TokenTooLong},
		"long text inside":  {`a<!-- gatefold:premium -->` + long + `<!-- /gatefold:premium -->b`, `a[wall]`, Unterminated},
		"much inside":       {`a<!-- gatefold:premium -->` + many + many + `<!-- /gatefold:premium -->b`, `a[wall]b`, Complete},
		"much after":        {`a<!-- gatefold:premium -->S<!-- /gatefold:premium -->` + many + many, `a[wall]` + many + many, Complete},
	} {
		t.Run(name, func(t *testing.T) {
			sent, result := cut(t, c.document, Region{}, 1000)
			assert.Equal(t, c.reason, result.Reason)
			assert.NotContains(t, sent, "S")
			if len(c.sent) < 100 {
				// Of a long token the first bytes may pass: they are outside of regions.
				assert.True(t, strings.HasPrefix(sent, c.sent), "%.50q", sent)
			} else {
				assert.Len(t, sent, len(c.sent))
			}
		})
	}
}

// The article arrives while the origin writes it: nothing waits for the end of the page.
func TestBytesPassAtOnce(t *testing.T) {
	var out bytes.Buffer
	c := NewCutter(&out, Region{}, Wall{})
	for _, step := range []struct{ write, sent string }{
		{`<p>a</p><!-- gatefold:premi`, ``},
		{`um -->`, `<p>a</p>`},
		{`S<!-- /gatefold:premium --><p>`, `<p>a</p><p>`},
		{`b</p>`, `<p>a</p><p>b</p>`},
	} {
		_, err := c.Write([]byte(step.write))
		require.NoError(t, err)
		assert.Equal(t, step.sent, out.String())
	}
	_, err := c.Close(false)
	require.NoError(t, err)
}

func TestClientThatLeft(t *testing.T) {
	c := NewCutter(failing{}, Region{}, Wall{})
	_, err := c.Write([]byte(`a<!-- gatefold:premium -->S<!-- /gatefold:premium -->b`))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	assert.True(t, c.Finished())
	_, err = c.Close(false)
	assert.ErrorIs(t, err, io.ErrClosedPipe)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func BenchmarkCutter(b *testing.B) {
	var page strings.Builder
	page.WriteString(`<!DOCTYPE html><html><head><title>News</title><style>p{margin:0}</style></head><body><!-- gatefold:premium -->S<!-- /gatefold:premium -->`)
	for page.Len() < 1<<20 {
		page.WriteString(`<p class="text lead">The mayor said on <a href="/tag/monday?x=1">Monday</a> that the bridge <em>would</em> be closed until further notice.</p>` + "\n")
	}
	document := []byte(page.String())
	for name, selector := range map[string]string{"comments": "", "class": ".paywall"} {
		region := Region{}
		if selector != "" {
			region, _ = ParseRegion(selector)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(document)))
			b.ReportAllocs()
			began := cpuTime(b)
			for b.Loop() {
				c := NewCutter(io.Discard, region, Wall{})
				for at := 0; at < len(document); at += 32 << 10 {
					_, _ = c.Write(document[at:min(at+32<<10, len(document))])
				}
				_, _ = c.Close(false)
			}
			b.ReportMetric(float64(b.N*len(document))/(cpuTime(b)-began).Seconds()/1e6, "MB/cpu-s")
		})
	}
}

// cpuTime is the time that the process had of a processor: of a busy machine, unlike that of a
// clock, it is nearly the same as of a quiet one.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
