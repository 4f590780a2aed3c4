package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// nodeHealth is the state of the node as the API tells it.
type nodeHealth struct {
	Status string `json:"status"`
	Store  struct {
		Reachable   bool     `json:"reachable"`
		Error       string   `json:"error,omitempty"`
		State       string   `json:"state,omitempty"`
		AwaySince   string   `json:"awaySince,omitempty"`
		LeftSeconds *float64 `json:"leftSeconds,omitempty"`
	} `json:"store"`
	SnapshotVersion uint64 `json:"snapshotVersion"`
	SelfChecks      struct {
		Checked uint64 `json:"checked"`
		Failed  uint64 `json:"failed"`
	} `json:"selfChecks"`
	Vendors []struct {
		Vendor       string `json:"vendor"`
		FeedPosition uint64 `json:"feedPosition"`
		Keys         *struct {
			Signing    string `json:"signing"`
			Verifying  int    `json:"verifying"`
			AgeSeconds int64  `json:"ageSeconds"`
		} `json:"keys,omitempty"`
	} `json:"vendors"`
	KeySets []struct {
		URL        string `json:"url"`
		OK         bool   `json:"ok"`
		Keys       int    `json:"keys"`
		AgeSeconds *int64 `json:"ageSeconds,omitempty"`
		Stale      bool   `json:"stale,omitempty"`
		Error      string `json:"error,omitempty"`
	} `json:"keySets"`
	MoreKeySets int `json:"moreKeySets,omitempty"`
}

func statusCommand(cmd *cobra.Command) {
	runnable(cmd, cobra.NoArgs, showStatus)
}

// showStatus prints the state of the node. A node that is failing is an error,
// so that a script need not read the text.
func showStatus(c *call) error {
	var health nodeHealth
	status, answer, err := c.send(c.cmd.Context(), http.MethodGet, "/health", nil, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK && status != http.StatusServiceUnavailable || json.Unmarshal(answer, &health) != nil || health.Status == "" {
		return answerError(status, answer)
	}
	if c.json {
		err = c.printJSON(health)
	} else {
		err = c.table("FIELD\tVALUE", health.rows())
	}
	if health.Status == "stale" {
		return errors.Join(err, fmt.Errorf("the node answers from memory, for %.0f s more: %s", *health.Store.LeftSeconds, health.Store.Error))
	}
	if health.Status != "ok" {
		return errors.Join(err, errors.New("the node is failing: "+health.Store.Error))
	}
	return err
}

func (h *nodeHealth) rows() [][]string {
	reachable := "reachable"
	if !h.Store.Reachable {
		reachable = "not reachable: " + h.Store.Error
	}
	rows := append(make([][]string, 0, 4+len(h.Vendors)), [][]string{
		{"status", h.Status},
		{"store", reachable},
		{"snapshot version", strconv.FormatUint(h.SnapshotVersion, 10)},
		{"self-checks", fmt.Sprintf("%d, %d failed", h.SelfChecks.Checked, h.SelfChecks.Failed)},
	}...)
	for _, vendor := range h.Vendors {
		told := fmt.Sprintf("feed at %d, no key yet", vendor.FeedPosition)
		if keys := vendor.Keys; keys != nil {
			told = fmt.Sprintf("feed at %d, %s signs for %s, %d verify", vendor.FeedPosition, keys.Signing,
				time.Duration(keys.AgeSeconds)*time.Second, keys.Verifying)
		}
		rows = append(rows, []string{"vendor " + vendor.Vendor, told})
	}
	for _, set := range h.KeySets {
		told := "no keys yet"
		if set.AgeSeconds != nil {
			told = fmt.Sprintf("%d keys, %v old", set.Keys, time.Duration(*set.AgeSeconds)*time.Second)
		}
		if set.Error != "" {
			told += "; " + set.Error
		}
		rows = append(rows, []string{"keys of " + set.URL, told})
	}
	if h.MoreKeySets > 0 {
		rows = append(rows, []string{"more key sets", fmt.Sprintf("%d, none in a worse state", h.MoreKeySets)})
	}
	return rows
}
