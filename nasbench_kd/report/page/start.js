// Starts every part of the page from its embedded data.

{
  const data = JSON.parse(document.getElementById("data").textContent);
  setUpLeaderboard(data);
  setUpCharts(data);
  setUpReplay(data);
}
