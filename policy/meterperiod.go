package policy

import "time"

// The periods of meters.
const (
	perDay   = "day"
	perWeek  = "week"
	perMonth = "month"
	per30d   = "30d"
)

// rollingPeriod is the length of the period 30d, which has no beginning: each view counts for
// that long.
const rollingPeriod = 30 * 24 * time.Hour

func isMeterPeriod(per string) bool {
	return per == perDay || per == perWeek || per == perMonth || per == per30d
}

// meterPeriod returns the beginning of a meter's period at a moment, which the views that
// count are not before, and its end. A period of the calendar begins at midnight in the zone,
// and a week on Monday (ISO 8601). The end of a rolling period is that of a view of the moment.
func meterPeriod(per string, now time.Time, zone *time.Location) (begin, end time.Time) {
	if per == per30d {
		return now.Add(-rollingPeriod + time.Second), now.Add(rollingPeriod)
	}
	if zone == nil {
		zone = time.UTC
	}
	year, month, day := now.In(zone).Date()
	midnight := func(month time.Month, day int) time.Time { return time.Date(year, month, day, 0, 0, 0, 0, zone) }
	switch per {
	case perDay:
		return midnight(month, day), midnight(month, day+1)
	case perWeek:
		monday := day - (int(now.In(zone).Weekday())+6)%7
		return midnight(month, monday), midnight(month, monday+7)
	default:
		return midnight(month, 1), midnight(month+1, 1)
	}
}
