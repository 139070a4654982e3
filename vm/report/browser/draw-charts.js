// Draws each figure of class "chart" from its JSON when it comes into view, and again when its width changes.
const { Plot } = globalThis
const drawnWidths = new WeakMap()

function draw(figure) {
  const width = Math.floor(figure.clientWidth)
  if (width === 0 || drawnWidths.get(figure) === width) return
  drawnWidths.set(figure, width)
  const { options, marks } = JSON.parse(figure.querySelector('script').textContent)
  const plot = Plot.plot({ width, ...options, marks: marks.map(toMark) })
  figure.querySelector('svg, figure')?.remove()
  figure.prepend(plot)
}

function toMark({ mark, data, options }) {
  return data === undefined ? Plot[mark](options) : Plot[mark](data, options)
}

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) draw(target)
})
const seen = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue
      seen.unobserve(target)
      resized.observe(target)
    }
  },
  { rootMargin: '200px' },
)
for (const figure of document.querySelectorAll('figure.chart')) seen.observe(figure)

// A link to something inside a closed part opens it.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)))
  if (target === null) return
  for (let element = target; element !== null; element = element.parentElement) {
    if (element instanceof HTMLDetailsElement) element.open = true
  }
  target.scrollIntoView()
}
addEventListener('hashchange', openTarget)
openTarget()
