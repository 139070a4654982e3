import t from 'tap'

// An internal module of the package, which its users cannot import.
const { Listings } = await import(new URL('tree/listings.js', import.meta.resolve('virtio-fs-ts')).href)

function directory(): { listing: readonly { name: string }[] | undefined } {
  return { listing: undefined }
}

const names = (count: number) => Array.from({ length: count }, (_, n) => ({ name: `${n}` }))

t.test('the oldest listings are given up when there are too many entries', async (t) => {
  const listings = new Listings(10)
  const [a, b, c] = [directory(), directory(), directory()]
  listings.keep(a, names(4))
  listings.keep(b, names(6))
  t.equal(a.listing?.length, 4)
  listings.keep(c, names(3))
  t.equal(a.listing, undefined)
  t.equal(b.listing?.length, 6)
  listings.drop(b)
  listings.keep(a, names(7))
  t.equal(c.listing?.length, 3, 'what was dropped does not count')
  listings.keep(a, names(5))
  t.equal(c.listing?.length, 3, 'nor what was replaced')
  listings.keep(b, names(20))
  t.same([a.listing, b.listing?.length, c.listing], [undefined, 20, undefined])
  listings.clear()
  t.equal(b.listing, undefined)
})
