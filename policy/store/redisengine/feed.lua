-- Returns {position, token of the newest event, events from ARGV[1] on, generation,
-- revision}, at most ARGV[2] events and about ARGV[3] bytes of them.
local meta, feed = KEYS[1], KEYS[2]
local state = redis.call('HMGET', meta, 'pos', 'tok', 'gen', 'rev')
local events = {}
local from, left, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
while left > 0 and bytes > 0 do
	local page = redis.call('XRANGE', feed, from, '+', 'COUNT', math.min(left, 32))
	for _, event in ipairs(page) do
		events[#events + 1] = {event[1], event[2][2], event[2][4]}
		bytes = bytes - #event[2][4]
		left = left - 1
		from = '(' .. event[1]
	end
	if #page < 32 then break end
end
return {state[1] or '0', state[2] or '', events, state[3] or '0', state[4] or '0'}
