package command

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gatefold/gatefold/admin"
)

// acceptLoss ends the condition store_went_back on all nodes.
func acceptLoss(c *call) error {
	var accepted []admin.StoreLoss
	if err := c.request(http.MethodPost, "/management/store/accept-loss", nil, struct{}{}, &accepted); err != nil {
		return err
	}
	text := "the store has lost nothing that is known\n"
	if len(accepted) > 0 {
		text = "accepted: counted links open again, also by uses that were lost\n"
	}
	for i := range accepted {
		loss := &accepted[i]
		text += fmt.Sprintf("%s: writes %d to %d%s; %d removals were made again by this node\n",
			printable(loss.Vendor), loss.From+1, loss.To, lossWindow(loss), loss.Rewritten)
	}
	return c.print(accepted, text)
}

func lossWindow(loss *admin.StoreLoss) string {
	switch {
	case loss.Before == nil:
		return ""
	case loss.After == nil:
		return ", until " + loss.Before.Format(time.RFC3339)
	}
	return fmt.Sprintf(", from %s to %s", loss.After.Format(time.RFC3339), loss.Before.Format(time.RFC3339))
}
