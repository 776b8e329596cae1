/* Included before the model's own C in played.cc's library: its marks tell where its layers begin. */
#ifndef PLAYED_H
#define PLAYED_H

void played_layer(unsigned int layer);

#endif
