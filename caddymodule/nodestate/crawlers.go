package nodestate

import (
	"fmt"
	"strings"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
)

// CrawlerList is the state of a list of the addresses of crawlers.
type CrawlerList struct {
	Address string
	// FetchedAt is when the last good copy was fetched; zero if there is none.
	FetchedAt time.Time
	// Err is the error of the last fetch.
	Err error
	// CountsFor is how long a copy counts.
	CountsFor time.Duration
}

// crawlerListLate is the age from which a list, which is fetched every day, is reported.
const crawlerListLate = 3 * 24 * time.Hour

// crawlerLists finds the lists that cannot be fetched. One whose first fetch is under way is
// none.
func (n *Node) crawlerLists() (findings []condition.Finding) {
	if n.options.CrawlerLists == nil {
		return nil
	}
	for _, list := range n.options.CrawlerLists() {
		age := n.options.Now().Sub(list.FetchedAt).Round(time.Second)
		var what string
		switch {
		case list.Err == nil && age < list.CountsFor:
			continue
		case list.FetchedAt.IsZero() && list.Err == nil:
			continue
		case list.FetchedAt.IsZero():
			what = fmt.Sprintf("The list was never fetched, and its crawlers are not let in: %v", list.Err)
		case age >= list.CountsFor:
			what = fmt.Sprintf("The list is %v old and does not count any more, so that its crawlers are not let in: %v", age, list.Err)
		case age >= crawlerListLate:
			what = fmt.Sprintf("The list is %v old and cannot be fetched again: %v", age, list.Err)
		default:
			continue
		}
		address, _, _ := strings.Cut(list.Address, "?") // a query may be secret
		findings = append(findings, condition.Finding{Kind: crawlerListOld, Subject: address, What: what})
	}
	return findings
}
