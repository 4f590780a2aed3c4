package pagetest

import (
	"bytes"
	"flag"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// pictures is the folder in which the pictures of the documents are made again:
//
//	go test ./policy/paywall/pagetest -run Pictures -args -pictures ../../../docs/img
var pictures = flag.String("pictures", "", "folder for the pictures of the documents")

// maxPicture bounds the size of a picture, in bytes.
const maxPicture = 150 << 10

// The pictures of the documents are those of the pages, and small.
func TestPictures(t *testing.T) {
	folder := *pictures
	if folder == "" {
		folder = t.TempDir()
	}
	page, article := newSite(t), newNewspaper(t)
	for _, dark := range []bool{false, true} {
		tab, _ := start(t, dark)
		for name, picture := range map[string]struct {
			address       string
			width, height int64
			dark          bool
		}{
			"paywall-boxes.png":   {page.URL + "/page?template=BOXES&lang=en&reason=login_required", 1100, 900, false},
			"denied.png":          {page.URL + "/page?lang=en&reason=not_entitled", 900, 420, false},
			"paywall-article.png": {page.URL + "/page?template=ARTICLE&lang=sv&reason=meter_used_up", 390, 844, true},
			"paywall-login.png":   {page.URL + "/page?template=LOGIN&lang=de&reason=login_required", 390, 844, false},
			"teaser-boxes.png":    {article.URL + "/article?template=BOXES&lang=en&charset=utf-8&plain=1", 1000, 900, false},
			"teaser-phone.png":    {article.URL + "/article?template=ARTICLE&lang=fr&charset=utf-8&plain=1", 390, 844, true},
		} {
			if picture.dark != dark {
				continue
			}
			if err := chromedp.Do(tab, chromedp.EmulateViewport(picture.width, picture.height), chromedp.Navigate(picture.address)); err != nil {
				t.Fatal(err)
			}
			shot, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := png.Decode(bytes.NewReader(shot))
			if err != nil {
				t.Fatal(err)
			}
			var small bytes.Buffer
			if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, decoded); err != nil {
				t.Fatal(err)
			}
			if small.Len() > maxPicture || small.Len() < 5<<10 {
				t.Errorf("%s has %d bytes", name, small.Len())
			}
			if err := os.WriteFile(filepath.Join(folder, name), small.Bytes(), 0o644); err != nil { //nolint:gosec // a picture of the documents
				t.Fatal(err)
			}
		}
	}
}
