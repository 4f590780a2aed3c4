package store

import (
	"encoding/json"
	"fmt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// CheckRecord returns an error if a value of a partition cannot be one that is stored at
// its key: a record that is no JSON object, or a counter that is no number. The error names
// the key and nothing of the value. It does not know every kind of key.
func CheckRecord(partition string, k, value []byte) error {
	if len(k) == 0 {
		return nil
	}
	kind, known := auditKinds[k[0]]
	switch {
	case k[0] == prefixUses, k[0] == prefixDevices, k[0] == prefixPromoUses:
		if _, err := engine.DecodeCounter(value); err != nil {
			return fmt.Errorf("the counter %q of partition %s is no number", k, partition)
		}
		return nil
	case k[0] == prefixAudit: // in every partition
	case !known || kind.unaudited || kind.text != "", partition == SystemPartition && (k[0] == prefixHook || k[0] == prefixWebhook):
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		return fmt.Errorf("the record %q of partition %s cannot be decoded", k, partition)
	}
	return nil
}
