package command

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
)

// linkLimitFlags adds the flags of a link's optional limits.
func linkLimitFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Int64("max-uses", 0, "number of times that the link can be redeemed (default: no limit)")
	flags.Int64("max-devices", 0, "number of browsers and programs that can open the link, over its whole life (default: no limit)")
	flags.String("starts-at", "", "time from which the link opens, such as 2027-01-31T06:00:00Z (default: now)")
	flags.String("starts-in", "", "time until the link opens: digits and one of s, m, h, d")
	flags.String("ip-prefix", "", "network from which the link opens, such as 203.0.113.0/24, or one address (default: every network)")
	flags.Bool("per-reader", false, "opens to identified readers only, each of whom is one use")
	cmd.MarkFlagsMutuallyExclusive("starts-at", "starts-in")
}

// linkLimits returns the limits that the flags state.
func (c *call) linkLimits() (limits admin.LinkLimits, err error) {
	for flag, to := range map[string]*int64{"max-uses": &limits.MaxUses, "max-devices": &limits.MaxDevices} {
		if *to, err = c.cmd.Flags().GetInt64(flag); err != nil {
			return limits, err
		}
		if c.changed(flag) && *to < 1 {
			return limits, fmt.Errorf("--%s: must be at least 1", flag)
		}
	}
	if limits.IPPrefix = c.text("ip-prefix"); c.changed("ip-prefix") && limits.IPPrefix == "" {
		return limits, errors.New("--ip-prefix: is empty: leave it out for a link that opens from every network")
	}
	if c.on("per-reader") {
		limits.PerReader = new(true)
	}
	at, err := c.time("starts-at")
	if at != nil {
		limits.StartsAt = &admin.LinkStart{Time: *at}
	}
	if err != nil || !c.changed("starts-in") {
		return limits, err
	}
	ahead, err := keys.ParseExpiresIn(c.text("starts-in"))
	if err != nil {
		return limits, fmt.Errorf("--starts-in: %w", err)
	}
	limits.StartsAt = &admin.LinkStart{Time: time.Now().Add(ahead)}
	return limits, nil
}

// linkUses returns how often a link was used, and by how many devices if it counts them.
func linkUses(l *admin.SignedLink) string {
	text := "not counted"
	if l.MaxUses > 0 {
		text = fmt.Sprintf("%d of %d", l.Uses, l.MaxUses)
	}
	if l.MaxDevices > 0 {
		text += fmt.Sprintf(", devices %d of %d", l.Devices, l.MaxDevices)
	}
	return text
}

// limitRows returns the rows of a link's other limits.
func limitRows(l *admin.SignedLink) (rows [][]string) {
	if l.StartsAt != nil {
		rows = append(rows, []string{"starts", l.StartsAt.Format(time.RFC3339)})
	}
	if l.IPPrefix != "" {
		rows = append(rows, []string{"network", l.IPPrefix})
	}
	if l.PerReader != nil && *l.PerReader {
		rows = append(rows, []string{"readers", "identified ones only, each is one use"})
	}
	return rows
}
