package policy

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
)

// operatorCrawler is the name of the operator of crawlers.
const operatorCrawler = "crawler"

func init() {
	RegisterOperator(Operator{Code: NoCode, Name: operatorCrawler, Words: wordList("names"), Compile: compileCrawler})
}

// Crawlers recognizes the crawlers that a site's configuration names.
type Crawlers interface {
	// IsCrawler reports whether a client with an agent and an address is the crawler of a
	// name. Both must be those of the crawler. It reports false if that is not known.
	IsCrawler(name, agent string, address netip.Addr) bool
}

// maxCrawlers bounds the crawlers of one step.
const maxCrawlers = 32

// crawlerTest allows reading to crawlers of which the site knows the networks.
type crawlerTest []string

func compileCrawler(arguments Arguments, _ []string) (Test, error) {
	if err := arguments.only("names"); err != nil {
		return nil, err
	}
	names, err := arguments.list("names")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 || len(names) > maxCrawlers {
		return nil, fmt.Errorf("it needs 1 to %d names of crawlers, which the site defines as `crawler <name> { … }`", maxCrawlers)
	}
	for _, name := range names {
		if !spacePattern.MatchString(name) {
			return nil, fmt.Errorf("the name %q must be lower-case letters, digits and hyphens, at most 63", name)
		}
	}
	return crawlerTest(names), nil
}

// Test allows a crawler without a credential only: one with a reader's is that reader.
func (t crawlerTest) Test(q *Question) Reason {
	if !q.Reader.Anonymous() {
		return ReasonNotEntitled
	}
	if q.crawlers == nil || q.Method != http.MethodGet || q.Reader.Rejected || q.Reader.Unknown || q.Reader.Limited {
		return ReasonLoginRequired
	}
	address := q.clientAddress()
	if !address.IsValid() {
		return ReasonLoginRequired
	}
	for _, name := range t {
		if q.crawlers.IsCrawler(name, q.agent, address) {
			q.answer.crawler = name
			return ReasonCrawler
		}
	}
	return ReasonLoginRequired
}

// CrawlersOf returns the names of the crawlers in the steps of rules.
func CrawlersOf(rules []Rule) (names []string) {
	for i := range rules {
		for _, step := range rules[i].Steps() {
			if step.Operator != operatorCrawler {
				continue
			}
			listed, _ := step.Arguments.list("names") // of a compiled rule
			for _, name := range listed {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}
