// A plotly figure that is updated in place: zoom, selection and hover outlive new data (st.plotly_chart builds a new
// element for every new figure). Tells Python which trials were clicked or lassoed, by the numbers in `customdata`.

let loading
const loadPlotly = () => loading ??= new Promise((done, failed) => {
  const script = document.createElement("script")
  script.src = new URL("plotly/plotly.min.js", document.baseURI).href
  script.onload = () => done(window.Plotly)
  script.onerror = () => failed(new Error("plotly.min.js could not be loaded"))
  document.head.append(script)
})

// Colours and font of the page, light or dark, as plotly's template: a figure itself brings only the colours of its data.
function template(place) {
  const style = getComputedStyle(place)
  const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise
  const text = read("--st-text-color", style.color), lines = read("--st-border-color-light", "rgba(128, 128, 128, 0.25)")
  const paper = read("--st-background-color", "white")
  const axis = { gridcolor: lines, zerolinecolor: lines, linecolor: lines, automargin: true, title: { font: { size: 13 } } }
  return { layout: {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: text, family: read("--st-font", "sans-serif"), size: 13 },
    xaxis: axis, yaxis: axis,
    colorscale: {
      sequential: [[0, paper], [1, "#0072B2"]],
      diverging: [[0, "#D55E00"], [0.5, paper], [1, "#0072B2"]],
    },
    hoverlabel: { bgcolor: paper, bordercolor: lines, font: { color: text } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: lines, activecolor: text },
  } }
}

// Charts further down are not drawn before they are scrolled to: a page is there sooner.
const seen = place => place.seen ??= new Promise(done => {
  const observer = new IntersectionObserver(entries => {
    if (!entries.some(entry => entry.isIntersecting)) return
    observer.disconnect()
    done()
  }, { rootMargin: "200px" })
  observer.observe(place.parentElement)
})

function trialsOf(event) {
  const trials = (event?.points ?? []).map(point => point.customdata).filter(Number.isInteger)
  return [...new Set(trials)]
}

export default function ({ data, parentElement, setTriggerValue }) {
  const place = parentElement.querySelector(".nas-chart")
  place.setAttribute("role", "img")
  place.setAttribute("aria-label", data.alt)
  place.pick = trials => trials.length && setTriggerValue("picked", trials)
  const draw = async () => {
    const [Plotly] = await Promise.all([loadPlotly(), seen(place)])
    const figure = JSON.parse(data.figure)
    figure.layout.template = template(place)
    figure.layout.autosize = true
    await Plotly.react(place, figure.data, figure.layout, {
      responsive: true, displaylogo: false, displayModeBar: data.bare ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "autoScale2d", ...(data.picks ? [] : ["lasso2d"])],
    })
    if (!place.listening) {
      place.listening = true
      place.on("plotly_click", event => place.pick(trialsOf(event)))
      place.on("plotly_selected", event => {
        if (event?.lassoPoints) place.pick(trialsOf(event))
      })
    }
  }
  draw().catch(error => { place.textContent = String(error) })

  const watcher = new MutationObserver(draw)  // a person chooses another theme
  for (const root of [document.documentElement, document.body]) watcher.observe(root, { attributes: true, attributeFilter: ["style", "class"] })
  return () => watcher.disconnect()
}
