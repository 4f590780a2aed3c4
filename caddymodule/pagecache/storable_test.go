package pagecache

import (
	"net/http"
	"testing"
	"time"
)

// fields returns a header of pairs of name and value.
func fields(pairs ...string) http.Header {
	header := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		header.Add(pairs[i], pairs[i+1])
	}
	return header
}

// The table is RFC 9111, sections 3, 4.2.1 and 5.2.2, with the stricter choices of this
// cache.
func TestStorable(t *testing.T) {
	const date = "Date"
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	minute := lifetime{fresh: time.Minute, ifError: time.Hour, explicit: true}
	strict := lifetime{fresh: time.Minute, explicit: true}
	for name, test := range map[string]struct {
		status int
		header http.Header
		ttl    time.Duration
		life   lifetime
		why    Why
	}{
		"max-age":                     {200, fields("Cache-Control", "max-age=60"), 0, minute, ""},
		"quoted":                      {200, fields("Cache-Control", `max-age="60"`), 0, minute, ""},
		"upper case":                  {200, fields("Cache-Control", `Max-Age=60`), 0, minute, ""},
		"s-maxage":                    {200, fields("Cache-Control", "max-age=1, s-maxage=60"), 0, strict, ""},
		"the smaller":                 {200, fields("Cache-Control", "max-age=60, max-age=600"), 0, minute, ""},
		"two lines":                   {200, fields("Cache-Control", "public", "Cache-Control", "max-age=60"), 0, minute, ""},
		"no number":                   {200, fields("Cache-Control", "max-age=a"), 0, lifetime{}, WhyFreshness},
		"negative":                    {200, fields("Cache-Control", "max-age=-1"), 0, lifetime{}, WhyFreshness},
		"a fraction":                  {200, fields("Cache-Control", "max-age=1.5"), 0, lifetime{}, WhyFreshness},
		"overflow":                    {200, fields("Cache-Control", "max-age=99999999999999999999"), 0, lifetime{fresh: seconds(maxSeconds), ifError: time.Hour, explicit: true}, ""},
		"within quotes":               {200, fields("Cache-Control", `x="no-store, max-age=60"`), 0, lifetime{}, WhyFreshness},
		"unclosed quote":              {200, fields("Cache-Control", `max-age="60`), 0, lifetime{}, WhyFreshness},
		"no-store":                    {200, fields("Cache-Control", "no-store, max-age=60"), 0, lifetime{}, WhyNoStore},
		"private":                     {200, fields("Cache-Control", "private, max-age=60"), 0, lifetime{}, WhyPrivate},
		"private of a field":          {200, fields("Cache-Control", `private="X", max-age=60`), 0, lifetime{}, WhyPrivate},
		"no-cache":                    {200, fields("Cache-Control", "no-cache, max-age=60", "Etag", `"1"`), 0, lifetime{explicit: true, noCache: true}, ""},
		"no-cache alone":              {200, fields("Cache-Control", "no-cache"), 0, lifetime{}, WhyFreshness},
		"Pragma":                      {200, fields("Pragma", "no-cache", "Etag", `"1"`), time.Minute, lifetime{noCache: true}, ""},
		"must-revalidate":             {200, fields("Cache-Control", "max-age=60, must-revalidate"), 0, strict, ""},
		"proxy-revalidate":            {200, fields("Cache-Control", "max-age=60, proxy-revalidate"), 0, strict, ""},
		"stale":                       {200, fields("Cache-Control", "max-age=60, stale-while-revalidate=5, stale-if-error=7"), 0, lifetime{fresh: time.Minute, whileRevalid: 5 * time.Second, ifError: 7 * time.Second, explicit: true}, ""},
		"Expires":                     {200, fields(date, at(0), "Expires", at(time.Minute)), 0, minute, ""},
		"past Expires":                {200, fields(date, at(0), "Expires", at(-time.Minute), "Etag", `"1"`), 0, lifetime{ifError: time.Hour, explicit: true}, ""},
		"Expires 0":                   {200, fields(date, at(0), "Expires", "0"), 0, lifetime{}, WhyFreshness},
		"two Expires":                 {200, fields(date, at(0), "Expires", at(time.Minute), "Expires", at(time.Hour)), 0, lifetime{}, WhyFreshness},
		"max-age over Expires":        {200, fields(date, at(0), "Expires", at(time.Hour), "Cache-Control", "max-age=60"), 0, minute, ""},
		"nothing":                     {200, fields("Last-Modified", at(-time.Hour)), 0, lifetime{}, WhyFreshness},
		"the rule's":                  {200, fields(), time.Minute, lifetime{fresh: time.Minute, ifError: time.Hour}, ""},
		"origin over rule":            {200, fields("Cache-Control", "max-age=60"), time.Hour, minute, ""},
		"Set-Cookie":                  {200, fields("Cache-Control", "public, max-age=60", "Set-Cookie", "a=1"), 0, lifetime{}, WhySetCookie},
		"partial":                     {206, fields("Cache-Control", "max-age=60"), 0, lifetime{}, WhyPartial},
		"partial as 200":              {200, fields("Cache-Control", "max-age=60", "Content-Range", "bytes 0-1/2"), 0, lifetime{}, WhyPartial},
		"trailer":                     {200, fields("Cache-Control", "max-age=60", "Trailer", "X"), 0, lifetime{}, WhyTrailer},
		"404":                         {404, fields("Cache-Control", "max-age=3600"), 0, strict, ""},
		"404 of the rule":             {404, fields(), time.Minute, lifetime{}, WhyStatus},
		"301":                         {301, fields("Cache-Control", "max-age=60"), 0, strict, ""},
		"302":                         {302, fields("Cache-Control", "max-age=60"), 0, lifetime{}, WhyStatus},
		"401":                         {401, fields("Cache-Control", "max-age=60"), 0, lifetime{}, WhyStatus},
		"own field":                   {200, fields("Cache-Control", "no-store", OwnControl, "max-age=60"), 0, minute, ""},
		"own field first":             {200, fields("Cdn-Cache-Control", "no-store", OwnControl, "max-age=60"), 0, minute, ""},
		"CDN field":                   {200, fields("Cache-Control", "private", "Cdn-Cache-Control", "max-age=60"), 0, minute, ""},
		"invalid CDN field":           {200, fields("Cache-Control", "max-age=60", "Cdn-Cache-Control", "max-age=,"), 0, minute, ""},
		"empty CDN field":             {200, fields("Cache-Control", "max-age=60", "Cdn-Cache-Control", ""), 0, minute, ""},
		"CDN field, Expires":          {200, fields("Cdn-Cache-Control", "public", date, at(0), "Expires", at(time.Minute)), 0, lifetime{}, WhyFreshness},
		"Surrogate-Control":           {200, fields("Cache-Control", "no-store", "Surrogate-Control", "max-age=60"), 0, minute, ""},
		"Surrogate-Control of ESI":    {200, fields("Cache-Control", "no-store", "Surrogate-Control", `content="ESI/1.0"`), time.Minute, lifetime{}, WhyNoStore},
		"targeted private of a list":  {200, fields("Cdn-Cache-Control", `max-age=60, private=("x-user")`), 0, lifetime{}, WhyPrivate},
		"targeted private of a token": {200, fields("Cdn-Cache-Control", `max-age=60, private=x-user`), 0, lifetime{}, WhyPrivate},
		"targeted private of nothing": {200, fields("Cdn-Cache-Control", `max-age=60, private=?0`), 0, minute, ""},
		"Clear-Site-Data":             {200, fields("Cache-Control", "max-age=60", "Clear-Site-Data", `"*"`), 0, lifetime{}, WhyNoStore},
	} {
		life, why := storable(test.status, test.header, test.ttl, time.Hour)
		if life != test.life || why != test.why {
			t.Errorf("%s: %+v %q, want %+v %q", name, life, why, test.life, test.why)
		}
	}
}

func TestInitialAge(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		header http.Header
		took   time.Duration
		want   time.Duration
	}{
		"none":           {fields(), 0, 0},
		"Age":            {fields("Age", "7"), 0, 7 * time.Second},
		"Age and time":   {fields("Age", "7"), 2 * time.Second, 9 * time.Second},
		"old Date":       {fields("Date", at(-10*time.Second), "Age", "7"), 0, 10 * time.Second},
		"future Date":    {fields("Date", at(time.Hour)), 0, 0},
		"not a number":   {fields("Age", "-3"), 0, 0},
		"several":        {fields("Age", "7, 9"), 0, 7 * time.Second},
		"too large":      {fields("Age", "99999999999"), 0, seconds(maxSeconds)},
		"invalid Date":   {fields("Date", "yesterday", "Age", "1"), 0, time.Second},
		"without header": {nil, time.Second, time.Second},
	} {
		if got := initialAge(test.header, now.Add(-test.took), now); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestVariants(t *testing.T) {
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "GZIP": "gzip", "gzip;q=0": "", "gzip; q=0.0, br": "", "br": "", "gzip, br": "br, gzip", "gzip;q=0.5, br;q=1, zstd": "zstd, br, gzip",
		"gzip, zstd": "gzip", "*": "", "identity": "", "gzip;q=0.01": "gzip", "xgzip": "",
	} {
		if got := encodings[encodingClass(fields("Accept-Encoding", accept))]; got != want {
			t.Errorf("Accept-Encoding %q is sent as %q, want %q", accept, got, want)
		}
	}
	for accept, want := range map[string]int{
		"*/*": 0, "text/html,application/xhtml+xml,image/avif,*/*;q=0.8": 1, "application/json, text/plain, */*": 2, "image/avif,image/webp,*/*": 4, "image/webp,*/*": 3, "text/css": 0, "evil": 0,
	} {
		if got := acceptClass(fields("Accept", accept)); int(got) != want {
			t.Errorf("Accept %q is of class %d, want %d", accept, got, want)
		}
	}
}

// No two pages have one key, whatever is in their texts.
func TestKeysDiffer(t *testing.T) {
	seen := map[string]int{}
	for i, target := range []Target{
		{}, {Vendor: "a"}, {Site: "a"}, {Host: "a"}, {Path: "a"}, {Query: "a"}, {Root: "a"}, {Secure: true}, {Vendor: "a", Site: "b"}, {Vendor: "ab"}, {Vendor: "a\x01b"}, {Path: "a?b"}, {Path: "a", Query: "b"},
	} {
		key, ok := appendKey(nil, &target, 0, nil, nil)
		if other, found := seen[string(key)]; found || !ok {
			t.Errorf("%+v has the key of %d", target, other)
		}
		seen[string(key)] = i
	}
	if _, ok := appendKey(nil, &Target{Query: string(make([]byte, maxKey))}, 0, nil, nil); ok {
		t.Error("a key may be of any length")
	}
	long := fields("X", string(make([]byte, maxKeyHeader+1)))
	if _, ok := appendKey(nil, &Target{}, 0, long, []string{"X"}); ok {
		t.Error("a header in the key may be of any length")
	}
}

func TestIgnoreQuery(t *testing.T) {
	ignored := []string{"utm_*", "fbclid"}
	for query, want := range map[string]string{
		"": "", "a=1": "a=1", "utm_x=1": "", "a=1&utm_x=1&b=2": "a=1&b=2", "fbclid&a": "a", "fbclid2=1": "fbclid2=1", "&a&&fbclid=1": "&a&", "a=1;utm_x=1": "a=1;utm_x=1", "UTM_x": "UTM_x",
	} {
		if got := ignoreQuery(query, ignored); got != want {
			t.Errorf("%q becomes %q, want %q", query, got, want)
		}
	}
}

func TestTags(t *testing.T) {
	tags, ok := tagsOf(fields("Cache-Groups", `"a b", "c";x=1, token`, "Surrogate-Key", "d  e", "Cache-Tag", "f, g h,"))
	if want := []string{"a b", "c", "d", "e", "f", "g h"}; !ok || len(tags) != len(want) {
		t.Fatalf("%q, want %q", tags, want)
	}
	many := http.Header{"Surrogate-Key": make([]string, maxTags+1)}
	for i := range many["Surrogate-Key"] {
		many["Surrogate-Key"][i] = "x"
	}
	for name, header := range map[string]http.Header{"many": many, "long": fields("Cache-Tag", string(make([]byte, maxTag+1))), "invalid": fields("Cache-Groups", `"a`)} {
		if _, ok := tagsOf(header); ok {
			t.Errorf("%s: a page is stored of which a purge could miss a tag", name)
		}
	}
}
