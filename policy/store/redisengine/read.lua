-- Reads for a view. ARGV[1] is the revision of the view, empty in its first read. The
-- reads follow: 'get' key, or 'scan' or 'back' low high count bytes.
--
-- Returns {revision, floor, undo log since ARGV[1], generation, one result per read}. A view whose
-- revision is below the floor must end.
local meta, names, values, undo = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local state = redis.call('HMGET', meta, 'rev', 'floor', 'gen', 'held')
local held = state[4] or '00'
if redis.call('EXISTS', names, values) < tonumber(string.sub(held, 1, 1)) + tonumber(string.sub(held, 2)) then
	state = {false, false, false} -- see evicted in common.lua: nothing is read of the rest
end
local answers = {state[1] or '0', state[2] or '0', {}, state[3] or '0'}

if ARGV[1] ~= '' and ARGV[1] ~= answers[1] then
	answers[3] = redis.call('XRANGE', undo, '(' .. ARGV[1] .. '-18446744073709551615', '+')
	if #answers[3] == 0 then answers[2] = answers[1] end -- the server evicted the log
end

local function get(key)
	local found = redis.call('HGET', values, key)
	if found then return found end
	if redis.call('ZSCORE', names, key) then return '' end
	return false
end

-- scan returns whether there may be more, then keys and values alternately, in ascending
-- order, or in descending order for 'back'.
local function scan(order, low, high, count, bytes)
	local keys
	if order == 'back' then
		keys = redis.call('ZREVRANGEBYLEX', names, high, low, 'LIMIT', 0, count)
	else
		keys = redis.call('ZRANGEBYLEX', names, low, high, 'LIMIT', 0, count)
	end
	local page, size = {0}, 0
	for i, key in ipairs(keys) do
		local value = redis.call('HGET', values, key) or ''
		page[2 * i], page[2 * i + 1] = key, value
		size = size + #key + #value
		if i == count or size >= bytes then
			page[1] = 1
			break
		end
	end
	return page
end

local at = 2
while at <= #ARGV do
	if ARGV[at] == 'get' then
		answers[#answers + 1] = get(ARGV[at + 1])
		at = at + 2
	else
		answers[#answers + 1] = scan(ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]))
		at = at + 5
	end
end
return answers
