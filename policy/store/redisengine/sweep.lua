-- Removes at most ARGV[3] entries that expired before ARGV[2], in Unix
-- milliseconds, and returns how many.
local expired = redis.call('ZRANGEBYSCORE', expiries, '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])
if #expired == 0 then return 0 end
for _, key in ipairs(expired) do remove(key) end
record(ARGV[1], '0  ')
return #expired
