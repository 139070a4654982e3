/** Devices on one thread look at each other's rings. */
import t from 'tap'
import { Neighbours } from 'vhost-user-ts'

const neighbour = (waitingCount = 0) => ({ waitingCount })

t.test('a device that is alone waits for nobody', async (t) => {
  const neighbours = new Neighbours()
  const own = neighbour(5)
  t.notOk(neighbours.areSeveral)
  neighbours.join(own)
  t.notOk(neighbours.areSeveral)
  t.notOk(neighbours.wait(own), 'its own requests are none of others')
})

t.test('others that have requests are seen, until they leave', async (t) => {
  const neighbours = new Neighbours()
  const [own, idle, busy] = [neighbour(5), neighbour(), neighbour(1)]
  for (const each of [own, idle]) neighbours.join(each)
  t.ok(neighbours.areSeveral)
  t.notOk(neighbours.wait(own))
  neighbours.join(busy)
  t.ok(neighbours.wait(own))
  t.ok(neighbours.wait(idle))
  neighbours.leave(busy)
  neighbours.leave(busy)
  t.notOk(neighbours.wait(own))
})

t.test('of very many, each is looked at in its turn', async (t) => {
  const neighbours = new Neighbours()
  const own = neighbour()
  neighbours.join(own)
  for (let n = 0; n < 1000; n++) neighbours.join(neighbour())
  neighbours.join(neighbour(1))
  let looks = 1
  while (!neighbours.wait(own)) looks++
  t.ok(looks > 1 && looks < 100, `${looks} looks`)
})
