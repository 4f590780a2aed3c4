package store

import (
	"context"
	"errors"
	"strconv"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// meterRecord is what a reader opened by a meter: when each content was opened first, in Unix
// seconds, by the hash of the content in hexadecimal digits. It is bounded by the limit of the
// meter.
type meterRecord map[string]int64

func meterKey(r policy.MeterReader) []byte { return key(prefixMeter, r.UserID, r.Site, r.Meter) }

// contentDigits are the digits of the hash of a content.
func contentDigits(content uint64) string { return strconv.FormatUint(content, 16) }

// MeterViews implements policy.Records.
func (s *Store) MeterViews(ctx context.Context, vendor string, reader policy.MeterReader) ([]policy.MeterView, error) {
	record := meterRecord{}
	_, err := s.get(engine.Urgent(ctx), vendor, meterKey(reader), &record)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	views := make([]policy.MeterView, 0, len(record))
	for digits, at := range record {
		content, err := strconv.ParseUint(digits, 16, 64)
		if err != nil {
			return nil, err
		}
		views = append(views, policy.MeterView{Content: content, At: at})
	}
	return views, nil
}

// CountView implements policy.Records. The record is compared with what was read when it is
// replaced, so that requests at once on several nodes never count more views than the limit.
// A view of which it is unknown whether it was counted is found by the next request for its
// content: it is not counted twice.
func (s *Store) CountView(ctx context.Context, vendor string, spend policy.MeterSpend) error {
	if err := s.clockRight(); err != nil {
		return err
	}
	ctx = engine.Urgent(ctx)
	for range redeemTries {
		err := s.countView(ctx, vendor, &spend)
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return ErrConflict
}

func (s *Store) countView(ctx context.Context, vendor string, spend *policy.MeterSpend) error {
	k, record := meterKey(spend.MeterReader), meterRecord{}
	stored, err := s.get(ctx, vendor, k, &record)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	for content, at := range record {
		if at < spend.Since {
			delete(record, content)
		}
	}
	content := contentDigits(spend.Content)
	if _, counted := record[content]; counted {
		return nil
	}
	if len(record) >= spend.Limit {
		return policy.ErrMeterUsedUp
	}
	record[content] = spend.At
	value, err := encode(record)
	if err != nil {
		return err
	}
	_, err = s.engine.Commit(ctx, vendor, &engine.Batch{
		Checks: []engine.Check{{Key: k, Value: stored}},
		Puts:   []engine.Put{{Key: k, Value: value, Expires: spend.Expires}},
		// No event: no cached value depends on the views of a reader.
	})
	if _, changed := errors.AsType[*engine.CheckError](err); changed {
		return ErrConflict
	}
	return err
}
