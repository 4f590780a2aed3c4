package policy

import "testing"

// A purge invalidates the pages that it names, however their path is spelt, and as few
// others as possible.
func TestPurgeOfPages(t *testing.T) {
	for name, test := range map[string]struct {
		purge   PagePurge
		path    string
		tag     string
		invalid bool
	}{
		"all":               {PagePurge{All: true}, "/a/b", "", true},
		"the path":          {PagePurge{Paths: []string{"/a/b"}}, "/a/b", "", true},
		"another spelling":  {PagePurge{Paths: []string{"/A/%62/"}}, "/a/b", "", true},
		"of the page":       {PagePurge{Paths: []string{"/a/b"}}, "/A/%62//", "", true},
		"below":             {PagePurge{Paths: []string{"/a"}}, "/a/b", "", false},
		"another":           {PagePurge{Paths: []string{"/a/c"}}, "/a/b", "", false},
		"a prefix":          {PagePurge{Prefixes: []string{"/a/"}}, "/a/b/c", "", true},
		"the prefix itself": {PagePurge{Prefixes: []string{"/a"}}, "/a", "", true},
		"everything below":  {PagePurge{Prefixes: []string{"/"}}, "/a/b", "", true},
		"half a segment":    {PagePurge{Prefixes: []string{"/a"}}, "/ab", "", false},
		"the front page":    {PagePurge{Paths: []string{"/"}}, "/", "", true},
		"and not the rest":  {PagePurge{Paths: []string{""}}, "/a", "", false},
		"a tag":             {PagePurge{Tags: []string{"t"}}, "/a", "t", true},
		"another tag":       {PagePurge{Tags: []string{"u"}}, "/a", "t", false},
		"another site":      {PagePurge{Site: "other", All: true}, "/a", "", false},
		"a deep path":       {PagePurge{Prefixes: []string{"/1"}}, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19", "", true},
		"a deep prefix":     {PagePurge{Prefixes: []string{"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"}}, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19", "", true},
		"another deep one":  {PagePurge{Prefixes: []string{"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/x/16/17"}}, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19", "", false},
	} {
		for _, soft := range []bool{false, true} {
			if test.purge.Soft = soft; test.purge.Site == "" {
				test.purge.Site = "news"
			}
			slots := PageSlots("acme", "news", test.path)
			if test.tag != "" {
				slots = append(slots, TagSlot("acme", "news", test.tag))
			}
			versions, change := new(Versions), Invalidation{}
			change.AddPages("acme", &test.purge)
			versions.Bump(change)
			hard, softly := versions.Pages(slots)
			if got := hard+softly != 0; got != test.invalid || got && (softly != 0) != soft {
				t.Errorf("%s, soft %v: %d and %d", name, soft, hard, softly)
			}
			change = Invalidation{}
			change.AddPages("other", &test.purge)
			before := versions.PagesVersion()
			if versions.Bump(change); versions.PagesVersion() == before {
				t.Errorf("%s: a purge does not change the version", name)
			}
			if hard2, soft2 := versions.Pages(slots); hard2 != hard || soft2 != softly {
				t.Errorf("%s: a purge of another vendor's pages counts", name)
			}
		}
	}
}

// More purges than an event holds purge all pages, and a lost event does too.
func TestPurgeOfTooManyPages(t *testing.T) {
	change := Invalidation{Pages: make([]uint16, maxPages+1)}
	got, err := DecodeInvalidation(change.Encode())
	if err != nil || !got.AllPages {
		t.Errorf("%+v, %v", got, err)
	}
	versions := new(Versions)
	versions.Bump(got)
	if hard, _ := versions.Pages(PageSlots("acme", "news", "/a")); hard == 0 {
		t.Error("pages are used after all were purged")
	}
}
